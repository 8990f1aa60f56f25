package dev.baton.transfer.mooncake;

import dev.baton.wire.Fields;
import dev.baton.wire.Wire;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Values of a Mooncake store, read without Mooncake's library: the master's HTTP port says where a value lies,
/// and the Transfer Engine of that node gives its bytes.
///
/// Only values in memory are found, and only those of the default tenant. Thread-safe; its readers are not.
public final class StoredValues {
    private final String host;
    private final int port;
    private final Duration timeout;

    /// Where a value lies.
    ///
    /// @param host of the node's handshake
    /// @param address in the node's memory
    public record Place(String host, int port, long address, long length) {}

    /// @param host of the master
    /// @param port of its HTTP interface (`--metrics_port`)
    /// @param timeout bound of each wait
    public StoredValues(String host, int port, Duration timeout) {
        this.host = host;
        this.port = port;
        this.timeout = timeout;
    }

    /// Asks the master where a value lies.
    ///
    /// @return empty if there is none
    /// @throws IOException if the master does not answer as it should
    public Optional<Place> find(String key) throws IOException {
        if (!key.matches("[!-~]*") || key.matches(".*[#%&+?].*")) {
            return Optional.empty(); // the master takes keys out of the address as they are
        }
        HttpMessage answer;
        try (Wire wire = Wire.unconnected()) {
            wire.connect(host, port, timeout);
            new HttpMessage("GET /query_key?key=" + key + " HTTP/1.1", new byte[0])
                    .send(wire, "Host: %s:%d\r\n".formatted(host, port), timeout);
            answer = HttpMessage.receive(wire, timeout);
        }
        String[] words = answer.startLine().split(" ", -1);
        String status = words.length < 2 ? "" : words[1];
        if (status.equals("404")) {
            return Optional.empty();
        }
        if (!status.equals("200")) {
            throw new ProtocolException("the master at %s:%d answers \"%s\"".formatted(host, port, answer.startLine()));
        }
        List<?> copies = SmallJson.map("the master's answer", answer.body()).list("data");
        return copies.isEmpty()
                ? Optional.empty() // it is on some disk
                : Optional.of(place(Fields.of("the master's answer", copies.getFirst())));
    }

    private static Place place(Fields fields) throws ProtocolException {
        String endpoint = fields.text("transport_endpoint_");
        if (!endpoint.matches("[^\\s/]{1,255}:[0-9]{1,5}")) {
            throw new ProtocolException("the master's answer names a node that is no host:port");
        }
        int colon = endpoint.lastIndexOf(':');
        return new Place(
                endpoint.substring(0, colon),
                Integer.parseInt(endpoint.substring(colon + 1)),
                fields.number("buffer_address_", 0, Long.MAX_VALUE),
                fields.number("size_", 0, Long.MAX_VALUE));
    }

    /// A reader; it keeps its connections until it is closed.
    public Reader reader() {
        return new Reader();
    }

    /// Reads values over connections of its own. For one thread.
    public final class Reader implements Closeable {
        private final Map<String, TeConnection> nodes = new HashMap<>(); // by host and port of the handshake

        private Reader() {}

        /// Reads a value.
        ///
        /// @param target as long as the value
        public void read(Place place, ByteBuffer target) throws IOException {
            String node = place.host() + ":" + place.port();
            TeConnection connection = nodes.get(node);
            if (connection == null) {
                connection = new TeConnection(timeout);
                nodes.put(node, connection);
                connection.open(TeHandshake.ask(place.host(), place.port(), timeout, timeout), place.host(), timeout);
            }
            connection.read(place.address(), target);
        }

        @Override
        public void close() {
            nodes.values().forEach(TeConnection::close);
        }
    }
}
