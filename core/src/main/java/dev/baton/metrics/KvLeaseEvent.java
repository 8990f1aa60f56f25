package dev.baton.metrics;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// A JDK Flight Recorder event for each request whose KV blocks were kept after its end, from that end until they
/// are free.
@Name("dev.baton.KvLease")
@Label("KV Lease")
@Category({"Baton", "Transfer"})
@Description("KV blocks kept for another instance or until they are saved")
@StackTrace(false)
public final class KvLeaseEvent extends Event {
    @Label("Request")
    public String request = "";

    @Label("Blocks")
    @Description("Blocks that were kept")
    public int blocks;

    @Label("Expired")
    @Description("Whether nobody came for them in time")
    public boolean expired;
}
