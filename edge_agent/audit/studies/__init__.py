"""What topics remember, where several of them remember alike."""
