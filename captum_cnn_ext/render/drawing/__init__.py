"""What all figures share: their layout, a panel, heat, pictures, texts, and judged arguments."""
