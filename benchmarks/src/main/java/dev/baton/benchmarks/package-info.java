/// JMH benchmarks; see `benchmarks/README.md` for what each one measures and how to run it.
@NullMarked
package dev.baton.benchmarks;

import org.jspecify.annotations.NullMarked;
