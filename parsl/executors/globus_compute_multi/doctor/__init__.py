"""What is wrong with a user's access to Globus Compute and its endpoints, and what to do about it."""
