package dev.baton.metrics;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// A JDK Flight Recorder event for each load of KV blocks from another instance, from the decision to load until
/// the engine hears of its end.
@Name("dev.baton.KvTransfer")
@Label("KV Transfer")
@Category({"Baton", "Transfer"})
@Description("A load of KV blocks from another instance")
@StackTrace(false)
public final class KvTransferEvent extends Event {
    @Label("Request")
    public String request = "";

    @Label("Peer")
    @Description("The other instance's engine id and address")
    public String peer = "";

    @Label("Tokens")
    @Description("Prompt tokens asked for")
    public int tokens;

    @Label("Blocks")
    @Description("Blocks to be filled, with the load's number of tokens")
    public int blocks;

    @Label("Bytes")
    @Description("Bytes received, if every block arrived")
    @DataAmount
    public long bytes;

    @Label("Outcome")
    @Description("arrived, or why not")
    public String outcome = "";
}
