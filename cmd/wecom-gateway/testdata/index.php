<?php // A program that finds its page by the path, in the ways that PHP offers.
$uri = $_SERVER['REQUEST_URI'];
foreach ([parse_url($uri, PHP_URL_PATH), rawurldecode((string) parse_url($uri, PHP_URL_PATH)), urldecode(explode('?', $uri)[0]),
	$_SERVER['PATH_INFO'] ?? '', $_SERVER['HTTP_X_ORIGINAL_URL'] ?? '', $_SERVER['HTTP_X_REWRITE_URL'] ?? ''] as $path) {
	$path = preg_replace('~/+~', '/', (string) $path);
	while ($path !== ($up = preg_replace('~/(?!\.\./)[^/]+/\.\.(/|$)|/\./~', '/', $path))) {
		$path = $up;
	}
	if (str_starts_with($path, '/admin/secret.txt')) {
		readfile(__DIR__ . '/admin/secret.txt');
		exit;
	}
}
echo 'nothing';
