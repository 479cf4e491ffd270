"""The arm: its model, what excites it, how it is identified, and a twin."""
