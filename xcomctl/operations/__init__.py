"""What a command does, apart from its terminal: plan, then apply. Operations yield results and never print."""
