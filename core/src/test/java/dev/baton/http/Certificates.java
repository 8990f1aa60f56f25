package dev.baton.http;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.TimeUnit;

/// Makes authorities and certificates with the JDK's `keytool`, and writes them as PEM.
public final class Certificates {
    private static final char[] PASSWORD = "changeit".toCharArray();

    private final Path folder;

    /// A new authority of that name.
    public Certificates(Path folder, String authority) throws Exception {
        this.folder = Files.createDirectories(folder.resolve(authority));
        keytool("ca", "-genkeypair", "-keyalg", "EC", "-dname", "CN=" + authority, "-ext", "bc:c");
        write("ca.pem", exported("ca"));
    }

    /// The authority's own certificate.
    public Path authority() {
        return folder.resolve("ca.pem");
    }

    /// Writes `NAME.pem` and `NAME.key`, for 127.0.0.1, over what was there.
    ///
    /// @return the certificate
    public Path make(String name) throws Exception {
        Files.deleteIfExists(folder.resolve(name + ".p12"));
        keytool(name, "-genkeypair", "-keyalg", "EC", "-dname", "CN=" + name);
        keytool(name, "-certreq", "-file", folder.resolve(name + ".csr").toString());
        keytool(
                "ca",
                "-gencert",
                "-infile",
                folder.resolve(name + ".csr").toString(),
                "-outfile",
                folder.resolve(name + ".der").toString(),
                "-ext",
                "san=ip:127.0.0.1,dns:localhost");
        write(name + ".key", pem("PRIVATE KEY", privateKey(name)));
        write(name + ".pem", pem("CERTIFICATE", Files.readAllBytes(folder.resolve(name + ".der"))));
        return folder.resolve(name + ".pem");
    }

    /// The key of a certificate.
    public Path key(String name) {
        return folder.resolve(name + ".key");
    }

    private byte[] privateKey(String name) throws Exception {
        java.security.KeyStore store =
                java.security.KeyStore.getInstance(folder.resolve(name + ".p12").toFile(), PASSWORD);
        return store.getKey(name, PASSWORD).getEncoded();
    }

    private String exported(String name) throws Exception {
        java.security.KeyStore store =
                java.security.KeyStore.getInstance(folder.resolve(name + ".p12").toFile(), PASSWORD);
        return pem("CERTIFICATE", store.getCertificate(name).getEncoded());
    }

    private static String pem(String what, byte[] der) {
        return "-----BEGIN " + what + "-----\n"
                + Base64.getMimeEncoder(64, "\n".getBytes(StandardCharsets.US_ASCII))
                        .encodeToString(der)
                + "\n-----END " + what + "-----\n";
    }

    private void write(String name, String text) throws IOException {
        Path whole = Files.writeString(folder.resolve(name + ".new"), text);
        Files.move(whole, folder.resolve(name), java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    }

    private void keytool(String alias, String... arguments) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "keytool").toString());
        command.addAll(List.of("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC")); // it ends before more pays
        command.addAll(List.of(arguments));
        command.addAll(List.of("-alias", alias, "-storepass", new String(PASSWORD), "-keystore"));
        command.add(folder.resolve(alias + ".p12").toString());
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (!process.waitFor(60, TimeUnit.SECONDS) || process.exitValue() != 0) {
            throw new IOException(command + ": " + said);
        }
    }
}
