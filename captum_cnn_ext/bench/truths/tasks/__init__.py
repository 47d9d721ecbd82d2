"""One file a task: its pictures, its networks, the truth of each image and the score."""
