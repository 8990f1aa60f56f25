package dev.baton.transfer.mooncake;

import dev.baton.wire.Wire;
import dev.baton.wire.Zmtp;
import java.io.IOException;
import java.time.Duration;

/// A decoder's end of the side channel, for tests that say themselves what it asks.
final class Asking implements AutoCloseable {
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private final Wire wire = Wire.unconnected();
    private final Zmtp channel = new Zmtp(wire, Zmtp.SocketType.DEALER, XferResponse.MAX_BYTES);

    /// Connects to where the prefiller's bootstrap server says.
    Asking(MooncakeInstance prefiller) throws IOException {
        Bootstraps.Worker worker = new Bootstraps(PATIENCE, PATIENCE)
                .find(Bootstraps.Address.of(prefiller.bootstrap()), prefiller.engineId);
        wire.connect(worker.host(), worker.port(), PATIENCE);
        channel.greet(PATIENCE);
    }

    void ask(byte[] question) throws IOException {
        channel.send(question);
    }

    XferResponse answer() throws IOException {
        return XferResponse.read(Zmtp.single(channel.receive(PATIENCE)));
    }

    @Override
    public void close() {
        wire.close();
    }
}
