// The kubelets' serving certificates. As in k3s the servers' own authority signs them, so that the API server and the
// metrics server check whom they ask: a kubelet requests one, a server approves it, the controller manager signs it.

package supervisor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	approveInterval = 2 * time.Second
	nodeUser        = "system:node:"
)

// approveServing approves what is rightly requested.
func approveServing(kubeconfigFile string) error {
	client, err := clientFor(kubeconfigFile)
	if err != nil {
		return err
	}
	requests, err := client.CertificatesV1().CertificateSigningRequests().List(context.Background(),
		metav1.ListOptions{FieldSelector: "spec.signerName=" + certificatesv1.KubeletServingSignerName, ResourceVersion: "0"})
	if err != nil {
		return err
	}
	var failed error
	for _, request := range requests.Items {
		if len(request.Status.Conditions) == 0 {
			if err := approve(client, &request); err != nil {
				failed = fmt.Errorf("request %s of %s: %w", request.Name, request.Spec.Username, err)
			}
		}
	}
	return failed
}

func approve(client *kubernetes.Clientset, request *certificatesv1.CertificateSigningRequest) error {
	node, err := client.CoreV1().Nodes().Get(context.Background(), strings.TrimPrefix(request.Spec.Username, nodeUser), metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := checkServingRequest(request.Spec.Username, request.Spec.Request, node.Status.Addresses); err != nil {
		return err
	}
	request.Status.Conditions = append(request.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AddressesOfNode", Message: "the certificate names only the node's own addresses"})
	_, err = client.CertificatesV1().CertificateSigningRequests().UpdateApproval(context.Background(), request.Name, request, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // another server was faster
	}
	return err
}

// checkServingRequest refuses a certificate for anybody but the node that asks, at addresses that are not its own.
func checkServingRequest(user string, request []byte, addresses []corev1.NodeAddress) error {
	block, _ := pem.Decode(request)
	if block == nil {
		return fmt.Errorf("not a certificate request in PEM")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(user, nodeUser) || parsed.Subject.CommonName != user {
		return fmt.Errorf("%s asks for a certificate of %q", user, parsed.Subject.CommonName)
	}
	for _, name := range parsed.DNSNames {
		if !slices.ContainsFunc(addresses, func(own corev1.NodeAddress) bool { return own.Address == name }) {
			return fmt.Errorf("%s is no address of the node", name)
		}
	}
	for _, address := range parsed.IPAddresses {
		if !slices.ContainsFunc(addresses, func(own corev1.NodeAddress) bool { return address.Equal(net.ParseIP(own.Address)) }) {
			return fmt.Errorf("%s is no address of the node", address)
		}
	}
	return nil
}
