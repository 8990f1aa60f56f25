package dev.baton.transfer;

import java.net.InetAddress;
import java.net.UnknownHostException;

/// What it takes to listen where others than this machine reach it. Stateless, thread-safe.
public final class Exposure {
    /// The setting that says that whoever reaches a port may be trusted.
    public static final String TRUSTED_NETWORK = "kv_trusted_network";

    private Exposure() {}

    /// Whether only this machine reaches an address.
    ///
    /// @throws TransferException if there is no such host
    public static boolean isLocal(String host) {
        try {
            return InetAddress.getByName(host).isLoopbackAddress();
        } catch (UnknownHostException e) {
            throw new TransferException("there is no host \"%s\"; give an address to listen on".formatted(host), e);
        }
    }

    /// The same where nothing but trust in the network helps.
    public static void check(String what, String host, boolean trusted) {
        check(what, host, trusted, "set %s to true".formatted(TRUSTED_NETWORK));
    }

    /// Refuses to listen beyond this machine with something that asks nobody who he is, unless the operator has
    /// said that the network is trusted.
    ///
    /// @param what listens, for example `the side channel of NixlConnector`
    /// @param trusted whether the operator has said so
    /// @param remedy what he is to do, for example `set kv_trusted_network to true`
    /// @throws TransferException if others reach the address and nobody has said that they may
    public static void check(String what, String host, boolean trusted, String remedy) {
        if (!trusted && !isLocal(host)) {
            throw new TransferException(
                    "%s would listen on %s, beyond this machine, and asks nobody who he is: listen on 127.0.0.1, or %s if only trusted machines reach that address"
                            .formatted(what, host, remedy));
        }
    }
}
