"""What is alike: filters and responses up to turns, and layers' representations."""
