"""What the scripts that drive other engines share: processes, requests, comparisons, and one module for each peer."""
