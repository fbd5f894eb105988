// java.net.http.HttpClient through the proxy, absolute-form and CONNECT, and a socket over SOCKS5.
// HTTP_LINE and SOCKS_LINE are proxy URLs with credentials, CA the origin's authority, COUNTRY the one to come
// out in. Prints "ok NAME" for each case. Run with -Djdk.http.auth.tunneling.disabledSchemes= :
// without it Java sends no Basic credentials with CONNECT.

import java.io.InputStream;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.Socket;
import java.net.URI;
import java.net.URLDecoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Arrays;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final int SIZE = 300_000;

    public static void main(String[] args) throws Exception {
        URI http = URI.create(System.getenv("HTTP_LINE"));
        HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .proxy(ProxySelector.of(new InetSocketAddress(http.getHost(), http.getPort())))
            .authenticator(authenticator(http))
            .sslContext(trusting(Path.of(System.getenv("CA"))))
            .connectTimeout(Duration.ofSeconds(60))
            .build();
        check(client, "java http", "http://origin.test");
        check(client, "java connect", "https://origin.test");
        socks(URI.create(System.getenv("SOCKS_LINE")));
        System.exit(0);
    }

    static void check(HttpClient client, String name, String origin) throws Exception {
        String ip = new String(ask(client, HttpRequest.newBuilder(URI.create(origin + "/ip"))), StandardCharsets.UTF_8);
        expect(ip.contains("\"country\":\"" + System.getenv("COUNTRY") + "\""), name + ": " + ip);
        byte[] down = ask(client, HttpRequest.newBuilder(URI.create(origin + "/bytes/" + SIZE)));
        expect(Arrays.equals(down, pattern()), name + ": " + down.length + " bytes");
        byte[] upload = pattern();
        HttpRequest.Builder post = HttpRequest.newBuilder(URI.create(origin + "/echo"));
        expect(Arrays.equals(ask(client, post.POST(BodyPublishers.ofByteArray(upload))), upload), name + ": echo");
        System.out.println("ok " + name);
    }

    static byte[] ask(HttpClient client, HttpRequest.Builder request) throws Exception {
        var answer = client.send(request.timeout(Duration.ofSeconds(60)).build(), BodyHandlers.ofByteArray());
        expect(answer.statusCode() == 200, answer + ": " + new String(answer.body(), StandardCharsets.UTF_8));
        return answer.body();
    }

    // The name goes to the proxy unresolved.
    static void socks(URI line) throws Exception {
        Authenticator.setDefault(authenticator(line));
        Proxy proxy = new Proxy(Proxy.Type.SOCKS, new InetSocketAddress(line.getHost(), line.getPort()));
        try (Socket socket = new Socket(proxy)) {
            socket.setSoTimeout(60_000);
            socket.connect(InetSocketAddress.createUnresolved("origin.test", 80), 60_000);
            String request = "GET /bytes/" + SIZE + " HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n";
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            byte[] answer = socket.getInputStream().readAllBytes();
            expect(new String(answer, 0, 12, StandardCharsets.US_ASCII).equals("HTTP/1.1 200"), "java socks: status");
            byte[] body = Arrays.copyOfRange(answer, answer.length - SIZE, answer.length);
            expect(Arrays.equals(body, pattern()), "java socks: body");
        }
        System.out.println("ok java socks5");
    }

    static Authenticator authenticator(URI line) {
        String[] user = line.getRawUserInfo().split(":", 2);
        String name = URLDecoder.decode(user[0], StandardCharsets.UTF_8);
        char[] password = URLDecoder.decode(user[1], StandardCharsets.UTF_8).toCharArray();
        return new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(name, password);
            }
        };
    }

    static SSLContext trusting(Path ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream pem = Files.newInputStream(ca)) {
            store.setCertificateEntry("origin", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    static byte[] pattern() {
        byte[] bytes = new byte[SIZE];
        for (int n = 0; n < SIZE; n++) {
            bytes[n] = (byte) (n % 251);
        }
        return bytes;
    }

    static void expect(boolean so, String otherwise) {
        if (!so) {
            throw new AssertionError(otherwise);
        }
    }
}
