// Certificates, kubeconfig files and tokens. Everything is made once and kept; a certificate is made anew when its
// names change, when its authority changes, or 90 days before it ends.

package supervisor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const renewBefore = 90 * 24 * time.Hour

// pair is a certificate and its key, on disk as <path>.crt and <path>.key.
type pair struct {
	path string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p *pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func readPair(path string) *pair {
	certText, certErr := os.ReadFile(path + ".crt")
	keyText, keyErr := os.ReadFile(path + ".key")
	certBlock, _ := pem.Decode(certText)
	keyBlock, _ := pem.Decode(keyText)
	if certErr != nil || keyErr != nil || certBlock == nil || keyBlock == nil {
		return nil
	}
	cert, certErr := x509.ParseCertificate(certBlock.Bytes)
	key, keyErr := x509.ParseECPrivateKey(keyBlock.Bytes)
	if certErr != nil || keyErr != nil {
		return nil
	}
	return &pair{path, cert, key}
}

// ensurePair returns the pair at path, made anew unless it still says what template says. A nil authority means
// that the certificate is an authority itself; such a one is never replaced, since all others hang on it.
func ensurePair(path string, authority *pair, template x509.Certificate) (*pair, error) {
	if old := readPair(path); old != nil {
		sameNames := slices.Equal(old.cert.DNSNames, template.DNSNames) && old.cert.Subject.String() == template.Subject.String() &&
			slices.EqualFunc(old.cert.IPAddresses, template.IPAddresses, net.IP.Equal)
		if authority == nil || sameNames && old.cert.CheckSignatureFrom(authority.cert) == nil && time.Until(old.cert.NotAfter) > renewBefore {
			return old, nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	// An hour of slack, so that a host whose clock is a little behind accepts what was just made.
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, true
	parent, signer := &template, key
	if authority == nil {
		template.IsCA, template.NotAfter = true, time.Now().AddDate(10, 0, 0)
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		parent, signer = authority.cert, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	made := &pair{path, cert, key}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	chain := made.certPEM()
	if authority != nil {
		// The chain carries the authority, so that an agent learns it from the TLS handshake and checks its hash.
		chain = append(chain, authority.certPEM()...)
	}
	if err := writeFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return nil, err
	}
	return made, writeFile(path+".crt", chain, 0o644)
}

// pki is what the control plane needs; the paths follow k3s (<data-dir>/server/tls).
type pki struct {
	serverCA, clientCA, frontProxyCA, etcdCA                                  *pair
	serving, admin, controllerManager, scheduler, apiServer, frontProxy, etcd *pair
	serviceKey                                                                string
}

func ensurePKI(c *config) (*pki, error) {
	directory := filepath.Join(c.DataDir, "server/tls")
	var failed error
	ensure := func(name string, authority *pair, commonName, organization string, names ...string) *pair {
		if failed != nil {
			return nil
		}
		template := x509.Certificate{Subject: pkix.Name{CommonName: commonName}}
		if organization != "" {
			template.Subject.Organization = []string{organization}
		}
		if authority != nil {
			template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		}
		for _, name := range names {
			if address := net.ParseIP(name); address != nil {
				template.IPAddresses = append(template.IPAddresses, address)
			} else if name != "" {
				template.DNSNames = append(template.DNSNames, name)
			}
		}
		var made *pair
		made, failed = ensurePair(filepath.Join(directory, name), authority, template)
		return made
	}
	p := &pki{serviceKey: filepath.Join(directory, "service.key")}
	p.serverCA = ensure("server-ca", nil, "k3s-server-ca", "")
	p.clientCA = ensure("client-ca", nil, "k3s-client-ca", "")
	p.frontProxyCA = ensure("request-header-ca", nil, "k3s-request-header-ca", "")
	p.etcdCA = ensure("etcd/ca", nil, "etcd-ca", "")
	ensure("service", nil, "service-account-key", "")
	p.serving = ensure("serving-kube-apiserver", p.serverCA, "kube-apiserver", "", append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost",
		"127.0.0.1", addressAt(c.ServiceCIDR, 1), c.NodeName, c.NodeIP, c.NodeExternalIP}, c.TLSSANs...)...)
	p.admin = ensure("client-admin", p.clientCA, "system:admin", "system:masters")
	p.controllerManager = ensure("client-controller", p.clientCA, "system:kube-controller-manager", "")
	p.scheduler = ensure("client-scheduler", p.clientCA, "system:kube-scheduler", "")
	p.apiServer = ensure("client-kube-apiserver", p.clientCA, "system:apiserver", "system:masters")
	p.frontProxy = ensure("client-auth-proxy", p.frontProxyCA, "system:auth-proxy", "")
	p.etcd = ensure("etcd/node", p.etcdCA, "etcd", "", c.NodeName, "localhost", "127.0.0.1", c.NodeIP)
	return p, failed
}

// kubeconfig renders a kubeconfig whose user is a JSON object such as {"token":"..."}.
func kubeconfig(server string, authority []byte, user string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: default
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: default
  user: %s
contexts:
- name: default
  context: {cluster: default, user: default}
current-context: default
`, server, base64.StdEncoding.EncodeToString(authority), user)
}

// userOf is the kubeconfig user of a client certificate.
func userOf(p *pair) (string, error) {
	key, err := os.ReadFile(p.path + ".key")
	return fmt.Sprintf("{client-certificate-data: %s, client-key-data: %s}", base64.StdEncoding.EncodeToString(p.certPEM()), base64.StdEncoding.EncodeToString(key)), err
}

// splitToken takes a bare password or K10<hash of the authority>::<user>:<password> apart.
func splitToken(token string) (authorityHash, password string, err error) {
	if !strings.HasPrefix(token, "K10") {
		return "", token, nil
	}
	hash, credentials, full := strings.Cut(strings.TrimPrefix(token, "K10"), "::")
	_, password, colon := strings.Cut(credentials, ":")
	if decoded, hexErr := hex.DecodeString(hash); !full || !colon || hexErr != nil || len(decoded) != sha256.Size || password == "" {
		return "", "", fmt.Errorf("token begins with K10 but is not K10<64 hex digits>::<user>:<password>; copy <data-dir>/server/token of the server")
	}
	return hash, password, nil
}

func fullToken(authority []byte, user, password string) string {
	return fmt.Sprintf("K10%x::%s:%s", sha256.Sum256(authority), user, password)
}

// bootstrapToken is the Kubernetes bootstrap token that stands for a k3s password: both sides derive it.
func bootstrapToken(password string) (id, secret string) {
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte("k3s-bootstrap:"+password)))
	return digest[:6], digest[6:22]
}

// writeFile replaces a file as a whole, so that a reader or a crash never sees half of one.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	// WriteFile's mode is cut by the umask and ignored for a file that exists.
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
