/// Measured programs: JMH benchmarks and, where two processes are needed, plain ones; `benchmarks/README.md`
/// says what each one measures and how to run it.
@NullMarked
package dev.baton.benchmarks;

import org.jspecify.annotations.NullMarked;
