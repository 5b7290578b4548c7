"""What people read, run as it stands."""
