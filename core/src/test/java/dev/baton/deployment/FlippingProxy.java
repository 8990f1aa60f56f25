package dev.baton.deployment;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/// A wire that flips one bit in every 8 KiB that flow towards the client, after the first 8 KiB.
final class FlippingProxy implements AutoCloseable {
    private static final int PERIOD_BYTES = 8192;

    private final ServerSocket server;
    private final int targetPort;
    private final AtomicInteger flippedBits = new AtomicInteger();
    private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();

    FlippingProxy(int targetPort) throws IOException {
        this.targetPort = targetPort;
        this.server = new ServerSocket(0, 16, InetAddress.getLoopbackAddress());
        Thread.ofVirtual().start(this::accept);
    }

    int port() {
        return server.getLocalPort();
    }

    int flippedBits() {
        return flippedBits.get();
    }

    private void accept() {
        try {
            while (true) {
                Socket client = server.accept();
                Socket target = new Socket(InetAddress.getLoopbackAddress(), targetPort);
                sockets.add(client);
                sockets.add(target);
                Thread.ofVirtual().start(() -> copy(client, target, false));
                Thread.ofVirtual().start(() -> copy(target, client, true));
            }
        } catch (IOException closed) {
            // the end of the test
        }
    }

    private void copy(Socket from, Socket to, boolean flip) {
        byte[] buffer = new byte[16 * 1024];
        long position = 0;
        try (from;
                to) {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                for (int i = 0; flip && i < n; i++) {
                    if ((position + i + 1) % PERIOD_BYTES == 0) {
                        buffer[i] ^= 0x10;
                        flippedBits.incrementAndGet();
                    }
                }
                position += n;
                out.write(buffer, 0, n);
                out.flush();
            }
        } catch (IOException closed) {
            // one side went away: the other one follows
        }
    }

    @Override
    public void close() throws IOException {
        server.close();
        for (Socket socket : sockets) {
            socket.close();
        }
    }
}
