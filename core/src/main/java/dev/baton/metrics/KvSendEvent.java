package dev.baton.metrics;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/// A JDK Flight Recorder event for each time that KV blocks leave the pool: pushed to another instance, given to
/// one that asks for them, or saved to a store.
///
/// Used by one thread: [#started()] before the first block goes, [#ended] after the last one. Costs nothing to
/// speak of while no recording wants it.
@Name("dev.baton.KvSend")
@Label("KV Send")
@Category({"Baton", "Transfer"})
@Description("KV blocks sent to another instance or saved to a store")
@StackTrace(false)
public final class KvSendEvent extends Event {
    /// The outcome of one that ended well.
    public static final String SENT = "sent";

    @Label("Connector")
    @Description("The connector's name, as in its configuration")
    public String connector = "";

    @Label("Request")
    @Description("What both sides know the request by")
    public String request = "";

    @Label("Peer")
    @Description("Who gets the blocks: an engine id, an address, or a store")
    public String peer = "";

    @Label("Blocks")
    @Description("Blocks that were to go")
    public int blocks;

    @Label("Bytes")
    @Description("Bytes that went; 0 if it failed")
    @DataAmount
    public long bytes;

    @Label("Outcome")
    @Description("sent, or why not")
    public String outcome = "";

    /// An event that begins now.
    public static KvSendEvent started() {
        KvSendEvent event = new KvSendEvent();
        event.begin();
        return event;
    }

    /// Ends the event and has it recorded, if a recording wants it.
    ///
    /// @param to who gets the blocks
    /// @param sentBytes bytes that went
    /// @param result [#SENT], or why not
    public void ended(String by, String requestId, Object to, int numBlocks, long sentBytes, String result) {
        end();
        if (shouldCommit()) {
            connector = by;
            request = requestId;
            peer = to.toString();
            blocks = numBlocks;
            bytes = sentBytes;
            outcome = result;
            commit();
        }
    }
}
