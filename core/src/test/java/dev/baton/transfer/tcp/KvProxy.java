package dev.baton.transfer.tcp;

import dev.baton.transfer.RemotePrefill;
import java.io.Closeable;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/// A bad network between a decoder and a prefiller: sees every block that passes and may damage, swap, delay or
/// drop it.
final class KvProxy implements Closeable {
    private static final int HEADER_BYTES = Limits.FRAME_HEADER_BYTES + Limits.BLOCK_BODY_BYTES;

    /// One block on its way: header and payload in one piece.
    @FunctionalInterface
    interface OnBlock {
        /// @param ordinal number of blocks that passed before, over all connections
        /// @return what goes on to the decoder; nothing to hold it back
        List<byte[]> pass(int ordinal, byte[] headerAndPayload) throws IOException, InterruptedException;
    }

    /// The checksums of blocks that the decoder copies itself, on their way.
    @FunctionalInterface
    interface OnSums {
        /// @param frame may be changed
        void pass(byte[] frame) throws IOException, InterruptedException;
    }

    private final ServerSocket listener;
    private final int target;
    private final int blockBytes;
    private final OnBlock onBlock;
    private final AtomicInteger blocks = new AtomicInteger();
    private final AtomicInteger connections = new AtomicInteger();
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
    private volatile boolean silent;
    private volatile OnSums onSums = frame -> {};

    KvProxy(long blockBytes, RemotePrefill params, OnBlock onBlock) throws IOException {
        this.target = params.port();
        this.blockBytes = Math.toIntExact(blockBytes);
        this.onBlock = onBlock;
        this.listener = new ServerSocket(0, 16, InetAddress.getLoopbackAddress());
        Thread.ofVirtual().start(this::accept);
    }

    /// The parameters with this proxy's address in place of the prefiller's.
    RemotePrefill through(RemotePrefill params) {
        return new RemotePrefill(
                params.engineId(),
                params.requestId(),
                params.blockIds(),
                "127.0.0.1",
                listener.getLocalPort(),
                params.tpSize(),
                params.numTokens());
    }

    void onSums(OnSums hook) {
        onSums = hook;
    }

    int blocksPassed() {
        return blocks.get();
    }

    int connections() {
        return connections.get();
    }

    /// Drops every byte from now on while the sockets stay open, as a cable that was pulled.
    void goSilent() {
        silent = true;
    }

    /// Closes all connections; new ones are welcome.
    void cut() throws IOException {
        Set<Socket> open = Set.copyOf(sockets); // those that come while these are closed stay open
        sockets.removeAll(open);
        for (Socket socket : open) {
            socket.close();
        }
    }

    private void accept() {
        try {
            while (true) {
                Socket decoder = listener.accept();
                decoder.setTcpNoDelay(true);
                sockets.add(decoder);
                connections.incrementAndGet();
                join(decoder);
            }
        } catch (IOException e) {
            // the end of the test
        }
    }

    private void join(Socket decoder) throws IOException {
        try {
            Socket prefiller = new Socket(InetAddress.getLoopbackAddress(), target);
            prefiller.setTcpNoDelay(true);
            sockets.add(prefiller);
            Thread.ofVirtual().start(() -> up(decoder, prefiller));
            Thread.ofVirtual().start(() -> down(prefiller, decoder));
        } catch (IOException e) {
            decoder.close(); // the prefiller is dead
        }
    }

    private void up(Socket from, Socket to) {
        byte[] buffer = new byte[8192];
        try (from;
                to) {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                if (!silent) {
                    out.write(buffer, 0, n);
                }
            }
        } catch (IOException e) {
            // one side went away: the other one follows
        }
    }

    private void down(Socket from, Socket to) {
        try (from;
                to) {
            DataInputStream in = new DataInputStream(from.getInputStream());
            OutputStream out = to.getOutputStream();
            while (true) {
                byte[] header = new byte[Limits.FRAME_HEADER_BYTES];
                in.readFully(header);
                ByteBuffer view = ByteBuffer.wrap(header).order(ByteOrder.LITTLE_ENDIAN);
                boolean block = view.getInt(4) == FrameType.BLOCK.code();
                byte[] frame = new byte[block ? HEADER_BYTES + blockBytes : header.length + view.getInt(0)];
                System.arraycopy(header, 0, frame, 0, header.length);
                in.readFully(frame, header.length, frame.length - header.length);
                if (view.getInt(4) == FrameType.SUMS.code()) {
                    onSums.pass(frame);
                }
                List<byte[]> passed =
                        block ? onBlock.pass(blocks.getAndIncrement(), frame) : new ArrayList<>(List.of(frame));
                for (byte[] piece : passed) {
                    if (!silent) {
                        out.write(piece);
                    }
                }
            }
        } catch (IOException | InterruptedException e) {
            // one side went away: the other one follows
        }
    }

    @Override
    public void close() throws IOException {
        listener.close();
        cut();
    }
}
