"""What people look at: the run log."""
