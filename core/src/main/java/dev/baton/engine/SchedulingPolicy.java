package dev.baton.engine;

/// Which waiting request comes next, and which running one gives way when the pool runs out; vLLM's names.
public enum SchedulingPolicy {
    /// First come, first served; the youngest running request gives way.
    FCFS,
    /// The lowest [EngineRequest#priority()] first, within one priority as [#FCFS]; the running request of the
    /// highest number, the youngest of those, gives way.
    PRIORITY
}
