package dev.baton.launch;

import com.sun.net.httpserver.HttpServer;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.List;

/// A process that behaves like a role: listens, answers health checks, ends with its parent, or misbehaves on
/// request.
///
/// Arguments: port, behaviour, further ones ignored.
final class FakeRole {
    private FakeRole() {}

    public static void main(String[] args) throws Exception {
        System.out.println("pid " + ProcessHandle.current().pid());
        System.out.println("arguments " + List.of(args));
        System.out.println("variable " + System.getenv("FAKE_ROLE"));
        switch (args[1]) {
            case "dies" -> {
                for (int line = 1; line <= 40; line++) {
                    System.err.println("line " + line);
                }
                System.exit(3);
            }
            case "never-ready" -> {}
            case "stubborn" -> {
                Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                    try {
                        Thread.sleep(60_000);
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                }));
                listen(args);
            }
            default -> listen(args);
        }
        if (List.of(args).contains(ProcessGroup.EXIT_WITH_PARENT)) {
            System.in.transferTo(OutputStream.nullOutputStream());
            System.exit(0);
        }
    }

    private static void listen(String[] args) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
        for (String path : List.of("/health", "/ready")) {
            server.createContext(path, exchange -> {
                exchange.sendResponseHeaders(200, -1);
                exchange.close();
            });
        }
        server.start();
    }
}
