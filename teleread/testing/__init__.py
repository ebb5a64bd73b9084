"""What tests and benchmarks of teleread, ours and others', share: bad lines between real peers."""
