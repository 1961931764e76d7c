package supervisor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func servingRequest(t *testing.T, commonName string, names []string, addresses ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName, Organization: []string{"system:nodes"}}, DNSNames: names}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestServingCertificatesAreForTheNodesOwnAddresses(t *testing.T) {
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: "server-1"}}
	for _, test := range []struct {
		name    string
		user    string
		request []byte
		want    string
	}{
		{"own", "system:node:server-1", servingRequest(t, "system:node:server-1", []string{"server-1"}, "10.0.0.1"), ""},
		{"another node", "system:node:server-1", servingRequest(t, "system:node:agent-1", nil, "10.0.0.1"), `system:node:server-1 asks for a certificate of "system:node:agent-1"`},
		{"no node", "admin", servingRequest(t, "admin", nil, "10.0.0.1"), `admin asks for a certificate of "admin"`},
		{"another address", "system:node:server-1", servingRequest(t, "system:node:server-1", []string{"server-1"}, "10.0.0.1", "10.0.0.2"), "10.0.0.2 is no address of the node"},
		{"another name", "system:node:server-1", servingRequest(t, "system:node:server-1", []string{"kubernetes"}, "10.0.0.1"), "kubernetes is no address of the node"},
		{"not a request", "system:node:server-1", []byte("x"), "not a certificate request in PEM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := checkServingRequest(test.user, test.request, addresses); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
