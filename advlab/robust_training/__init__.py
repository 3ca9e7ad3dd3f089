"""What adversarial training methods share: the attack within a step, and the robustness on
validation images."""
