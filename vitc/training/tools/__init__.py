"""What stands beside the training loop: forecasts, diagnoses, trials, files of other trainers."""
