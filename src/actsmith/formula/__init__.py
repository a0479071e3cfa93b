"""What an activation is: an expression, its parameters, its kinks, its derivatives. SymPy inside, no torch."""
