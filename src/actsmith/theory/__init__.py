"""What an activation does to information and to depth: laws, quadrature, entropy, kernels, criticality. No torch."""
