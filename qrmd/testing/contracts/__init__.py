"""What every driver must do, as tests: derive from a suite and give it the fixtures it names."""
