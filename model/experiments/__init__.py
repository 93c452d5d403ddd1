"""The experiments of Durmaz et al. 2023 on a lab's own images."""
