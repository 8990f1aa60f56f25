/// Measured programs: JMH benchmarks and, where two processes are needed, plain ones.
package dev.baton.benchmarks;
