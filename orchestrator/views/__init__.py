"""What people and programs read: text, JSON and live views of the state."""
