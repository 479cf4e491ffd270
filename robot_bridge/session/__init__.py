"""One connected robot: its episodes, its policy, its belief."""
