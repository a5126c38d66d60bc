"""The teacher pool: Ray Serve applications that answer windows of rows."""
