"""Subjects out of tasks: for each, the batch on which its network is made to suffer a loss at the last step."""
