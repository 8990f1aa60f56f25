package dev.baton.metrics;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// A JDK Flight Recorder event for each read that is handed to the NIXL library: as long as that call took, not
/// the read.
@Name("dev.baton.KvPost")
@Label("KV Post")
@Category({"Baton", "Transfer"})
@Description("A read of KV blocks was handed to NIXL")
@StackTrace(false)
public final class KvPostEvent extends Event {
    @Label("Request")
    public String request = "";

    @Label("Descriptors")
    @Description("Pieces to be read")
    public int descriptors;

    @Label("Bytes")
    @DataAmount
    public long bytes;
}
