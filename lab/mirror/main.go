// The lab's mirror: what an air-gapped site runs beside its hosts. `mirror image` assembles a container image
// from layers as an OCI layout, `mirror serve` serves such images as a registry and a folder of artifacts
// (the k3s binary, Helm charts) over HTTP.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const usage = `usage:
  mirror image --out DIR --reference REPOSITORY:TAG --config FILE LAYER...   assemble an image (LAYER: .tar.zst or .tar.gz)
  mirror serve --registry ADDRESS --files ADDRESS --blobs DIR --artifacts DIR IMAGE_DIR...`

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) < 2 {
		log.Fatal(usage)
	}
	var err error
	switch os.Args[1] {
	case "image":
		err = buildImage(os.Args[2:])
	case "serve":
		err = serve(os.Args[2:])
	default:
		err = fmt.Errorf("unknown command %q\n%s", os.Args[1], usage)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// buildImage writes an OCI layout with one image and, beside it, its reference by digest.
func buildImage(args []string) error {
	flags := flag.NewFlagSet("image", flag.ExitOnError)
	out := flags.String("out", "", "folder of the OCI layout")
	reference := flags.String("reference", "", "repository and tag under which clients ask for the image")
	configFile := flags.String("config", "", "JSON: the config object of the OCI image (Entrypoint, Env, Labels ...)")
	flags.Parse(args)

	var config v1.Config
	text, err := os.ReadFile(*configFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("%s: %w", *configFile, err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, file := range flags.Args() {
		mediaType := types.OCILayer
		if strings.HasSuffix(file, ".zst") {
			mediaType = types.OCILayerZStd
		}
		layer, err := tarball.LayerFromFile(file, tarball.WithMediaType(mediaType))
		if err != nil {
			return fmt.Errorf("layer %s: %w", file, err)
		}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: mediaType}); err != nil {
			return err
		}
	}
	base, err := image.ConfigFile()
	if err != nil {
		return err
	}
	file := base.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return err
	}
	path, err := layout.Write(*out, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendImage(image); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*out, "reference"), []byte(*reference+"@"+digest.String()+"\n"), 0o644)
}

// serve answers as a registry and as a file server until it gets SIGTERM.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	registryAddress := flags.String("registry", "127.0.0.1:5000", "address of the registry")
	filesAddress := flags.String("files", "127.0.0.1:8080", "address of the artifact server")
	blobs := flags.String("blobs", "", "folder of the registry's blobs")
	artifacts := flags.String("artifacts", "", "folder of the artifacts")
	flags.Parse(args)

	for _, folder := range flags.Args() {
		if err := linkBlobs(folder, *blobs); err != nil {
			return err
		}
	}
	quiet := registry.Logger(log.New(os.Stderr, "registry ", 0))
	images := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(*blobs)), quiet)
	registryListener, err := net.Listen("tcp", *registryAddress)
	if err != nil {
		return err
	}
	filesListener, err := net.Listen("tcp", *filesAddress)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- http.Serve(registryListener, images) }()
	for _, folder := range flags.Args() {
		if err := publish(folder, *registryAddress); err != nil {
			return fmt.Errorf("image %s: %w", folder, err)
		}
	}
	// The artifacts come last: who sees them answer knows that all images are there.
	go func() { failed <- http.Serve(filesListener, http.FileServer(http.Dir(*artifacts))) }()
	log.Printf("registry on %s with %d images, artifacts on %s", *registryAddress, flags.NArg(), *filesAddress)
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
		return nil
	}
}

// linkBlobs puts the blobs of an OCI layout where the registry's disk handler looks for them.
func linkBlobs(folder, blobs string) error {
	files, err := filepath.Glob(filepath.Join(folder, "blobs", "sha256", "*"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(blobs, "sha256"), 0o755); err != nil {
		return err
	}
	for _, file := range files {
		target := filepath.Join(blobs, "sha256", filepath.Base(file))
		if err := os.Symlink(file, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// publish puts the image of an OCI layout into the registry under its reference; its blobs are there already.
func publish(folder, address string) error {
	text, err := os.ReadFile(filepath.Join(folder, "reference"))
	if err != nil {
		return err
	}
	tagged, _, _ := strings.Cut(strings.TrimSpace(string(text)), "@")
	// Clients ask the mirror of docker.io for the path without the host's name.
	_, path, _ := strings.Cut(tagged, "/")
	target, err := name.ParseReference(address+"/"+path, name.Insecure)
	if err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return remote.Write(target, image, remote.WithContext(ctx))
}
