package dev.baton.metrics;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// A JDK Flight Recorder event for each request that gives its KV blocks back and is computed again later.
@Name("dev.baton.Preemption")
@Label("Preemption")
@Category({"Baton", "Engine"})
@Description("A running request gave its KV blocks to another one")
@StackTrace(false)
public final class PreemptionEvent extends Event {
    @Label("Request")
    public String request = "";

    @Label("Computed Tokens")
    @Description("Tokens whose keys and values were given up")
    public int computedTokens;

    @Label("Output Tokens")
    @Description("Tokens that the request had generated")
    public int outputTokens;
}
