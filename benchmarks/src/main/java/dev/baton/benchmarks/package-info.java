<<<<<<< HEAD
/// Measured programs: JMH benchmarks and, where two processes are needed, plain ones.
package dev.baton.benchmarks;
=======
/// JMH benchmarks; see `benchmarks/README.md` for what each one measures and how to run it.
@NullMarked
package dev.baton.benchmarks;

import org.jspecify.annotations.NullMarked;
>>>>>>> tensor
