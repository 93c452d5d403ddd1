"""Networks: backbones, pretrained weights, classification schemes, linear probes."""
