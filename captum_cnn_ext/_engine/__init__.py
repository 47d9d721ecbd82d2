"""The only code that touches a model: hooks, modes, recording, memory."""
