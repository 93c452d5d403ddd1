"""The scripted shift: its orders, their kinds and honest oddities."""
