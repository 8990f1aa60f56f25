package dev.baton.metrics;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// A JDK Flight Recorder event for each step of the engine: what it computed and how long that took.
@Name("dev.baton.EngineStep")
@Label("Engine Step")
@Category({"Baton", "Engine"})
@Description("One step of the engine: schedule, run, update")
@StackTrace(false)
public final class EngineStepEvent extends Event {
    @Label("Requests")
    @Description("Requests that computed tokens in this step")
    public int requests;

    @Label("Tokens")
    @Description("Tokens computed, of prompts and outputs together")
    public int tokens;

    @Label("Preempted")
    @Description("Requests that lost their blocks in this step")
    public int preempted;

    @Label("Running")
    @Description("Requests in the batch after the step")
    public int running;

    @Label("Waiting")
    @Description("Requests that wait after the step, loads included")
    public int waiting;

    @Label("Device Time")
    @Description("Microseconds that a device was busy with the step, 0 where the model computes on the processor")
    public int deviceMicros;
}
