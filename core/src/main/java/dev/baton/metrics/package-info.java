/// Metrics: counters, gauges and histograms with fixed labels, and their text form for Prometheus; events for the
/// JDK Flight Recorder.
///
/// May depend on: no other room.
@NullMarked
package dev.baton.metrics;

import org.jspecify.annotations.NullMarked;
