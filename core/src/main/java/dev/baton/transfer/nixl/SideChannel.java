package dev.baton.transfer.nixl;

import dev.baton.transfer.KvLease;
import dev.baton.transfer.KvLeases;
import dev.baton.transfer.TransferException;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpRequests;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.net.ConnectException;
import java.net.ProtocolException;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Where decoders ask for this instance's metadata, as vLLM's NIXL connector has it: a ZeroMQ ROUTER that answers
/// the MessagePack list `[b"get_meta_msg", pp rank, tp rank]` with the handshake payload and the sender's clock.
///
/// A Baton also asks `[b"get_block_sums", lease, first, count]` and gets a checksum of 4 bytes for each of these
/// blocks of the request, or nothing if the lease has ended; `b"get_device_block_sums"` asks for those of 8 bytes
/// that GPUs compute.
///
/// Each peer's connection has a thread, `baton-nixl-side-channel-...`. Thread-safe.
final class SideChannel implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(SideChannel.class);

    private static final byte[] GET_METADATA = "get_meta_msg".getBytes(StandardCharsets.US_ASCII);
    private static final int MAX_REQUEST_BYTES = 4_096;
    private static final int MAX_ANSWER_BYTES = 16 << 20;
    private static final int MAX_DECODERS = 1_024;
    /// Each question of vLLM's has a connection of its own.
    private static final Duration SILENCE = Duration.ofMinutes(1);
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(3); // one lost packet costs 1 s
    private static final long NANOS_PER_SECOND = 1_000_000_000;

    private final byte[] payload;
    private final LocalPool pool;
    private final KvLeases leases;
    private final ZmtpServer server;

    /// Begins to listen.
    ///
    /// @param port 0 for any free one
    /// @param payload the answer, `NixlHandshakePayload`
    /// @throws TransferException if the port cannot be bound
    SideChannel(String host, int port, byte[] payload, LocalPool pool, KvLeases leases) {
        this.payload = payload;
        this.pool = pool;
        this.leases = leases;
        try {
            server = ZmtpServer.start(
                    "baton-nixl-side-channel",
                    Zmtp.SocketType.ROUTER,
                    host,
                    port,
                    new ZmtpServer.Limits(MAX_DECODERS, MAX_REQUEST_BYTES, SILENCE),
                    this::request);
        } catch (IOException e) {
            throw new TransferException(
                    "%s: the side channel cannot listen on %s:%d: %s; set kv_ip and kv_port"
                            .formatted(NixlConnector.NAME, host, port, e.getMessage()),
                    e);
        }
    }

    int port() {
        return server.port();
    }

    private void request(Zmtp from, List<byte[]> message) throws IOException {
        List<byte[]> answer = new ArrayList<>();
        answer.add(new byte[0]); // a REQ's delimiter
        try {
            answer.addAll(answer(message.getLast()));
        } catch (ProtocolException | RuntimeException e) {
            LOG.warn("a request to the NIXL side channel is not answered: {}", e.getMessage());
            return;
        }
        from.send(answer);
    }

    private List<byte[]> answer(byte[] message) throws ProtocolException {
        if (!(MsgPack.read(message) instanceof List<?> request)
                || request.isEmpty()
                || !(request.getFirst() instanceof byte[] what)) {
            throw new ProtocolException("it is no list that begins with a command");
        }
        if (Arrays.equals(what, GET_METADATA)) {
            for (Object rank : request.subList(1, request.size())) {
                if (!rank.equals(0L)) {
                    throw new ProtocolException("it asks for rank " + rank + "; there is rank 0 alone");
                }
            }
            byte[] clock = MsgPack.write(System.nanoTime() / (double) NANOS_PER_SECOND);
            // Before clocks were exchanged, there was one rank in the question and one frame in the answer.
            return request.size() > 2 ? List.of(payload, clock) : List.of(payload);
        }
        String command = new String(what, StandardCharsets.US_ASCII);
        for (BlockSums kind : BlockSums.values()) {
            if (kind.question.equals(command)
                    && request.size() == 4
                    && request.get(1) instanceof String handle
                    && request.get(2) instanceof Long first
                    && request.get(3) instanceof Long count) {
                return List.of(sums(kind, handle, first, count));
            }
        }
        throw new ProtocolException("it is neither get_meta_msg nor get_block_sums");
    }

    /// @return empty if the lease has ended, or has no such blocks
    private byte[] sums(BlockSums kind, String handle, long first, long count) {
        Optional<KvLease> lease = leases.find(handle);
        if (lease.isEmpty() || first < 0 || count < 1 || count > lease.get().numBlocks() - first) {
            return new byte[0];
        }
        long[] sums = new long[(int) count];
        // A GPU has all of them in less time than it takes to ask it twice.
        int step = pool.isOnDevice() ? sums.length : 1;
        for (int at = 0; at < sums.length; at += step) {
            int[] blocks = new int[step];
            int from = (int) first + at;
            Arrays.setAll(blocks, i -> lease.get().blockId(from + i));
            AtomicBoolean fenced = new AtomicBoolean();
            Runnable fence = () -> fenced.set(true);
            if (!leases.beginRead(lease.get(), fence)) {
                return new byte[0];
            }
            try {
                System.arraycopy(kind.of(pool, handle, from, blocks), 0, sums, at, step);
            } finally {
                lease.get().endRead(fence);
            }
        }
        return kind.encode(sums);
    }

    @Override
    public void close() {
        server.close();
    }

    /// Asks a peer for its metadata.
    ///
    /// @return its handshake payload
    /// @throws ProtocolException if it does not answer in time, or not with that
    static byte[] askMetadata(ZmtpRequests requests, PeerAddress peer, Duration timeout) throws ProtocolException {
        List<Object> question = List.of(GET_METADATA, 0, 0);
        return ask(requests, peer, MsgPack.write(question), timeout);
    }

    /// Asks a Baton for the checksums of some blocks of a lease.
    ///
    /// @return empty if the lease has ended
    static long[] askSums(
            ZmtpRequests requests,
            PeerAddress peer,
            BlockSums kind,
            String lease,
            int first,
            int count,
            Duration timeout)
            throws ProtocolException {
        List<Object> question = List.of(kind.question.getBytes(StandardCharsets.US_ASCII), lease, first, count);
        byte[] answer = ask(requests, peer, MsgPack.write(question), timeout);
        if (answer.length != 0 && answer.length != count * kind.bytes) {
            throw new ProtocolException(
                    "%s sent %d bytes of checksums for %d blocks".formatted(peer, answer.length, count));
        }
        return kind.decode(answer);
    }

    private static byte[] ask(ZmtpRequests requests, PeerAddress peer, byte[] question, Duration timeout)
            throws ProtocolException {
        try {
            return requests.ask(peer.host(), peer.port(), question, MAX_ANSWER_BYTES, CONNECT_TIMEOUT, timeout)
                    .getFirst();
        } catch (ConnectException e) {
            throw new ProtocolException("%s cannot be reached: %s".formatted(peer, e.getMessage()));
        } catch (SocketTimeoutException e) {
            throw new ProtocolException("%s did not answer on its side channel within %s".formatted(peer, timeout));
        } catch (IOException e) {
            throw new ProtocolException("%s cannot be asked: %s".formatted(peer, e.getMessage()));
        }
    }
}
