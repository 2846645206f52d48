"""How fast xcomctl is, beside the floor and beside what people would write: ratios, all measured in one run.

The floor is the fastest raw client of the same server that does no more than move the same data.
"""
