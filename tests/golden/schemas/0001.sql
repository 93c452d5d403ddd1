BEGIN TRANSACTION;
CREATE TABLE account (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	hashed VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	disabled_at DATETIME, 
	failures INTEGER NOT NULL, 
	locked_until DATETIME, 
	logins_since DATETIME, 
	CONSTRAINT pk_account PRIMARY KEY (id), 
	CONSTRAINT uq_account_name_site_id UNIQUE (name, site_id), 
	CONSTRAINT fk_account_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "account" VALUES(1,1,'Ada','person','lead','a hash','2026-11-24 21:00:00.000000',NULL,0,NULL,NULL);
CREATE TABLE agent (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	first_started_at DATETIME, 
	started_at DATETIME, 
	seen_at DATETIME, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_agent PRIMARY KEY (id), 
	CONSTRAINT uq_agent_site_id_name UNIQUE (site_id, name), 
	CONSTRAINT fk_agent_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "agent" VALUES(1,1,'PC','2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000','{}');
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE campaign (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	seed INTEGER NOT NULL, 
	may_go_back BOOLEAN NOT NULL, 
	taxonomy JSON NOT NULL, 
	merged JSON NOT NULL, 
	"by" VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	opened_at DATETIME, 
	closed_at DATETIME, 
	CONSTRAINT pk_campaign PRIMARY KEY (id), 
	CONSTRAINT uq_campaign_site_id_name UNIQUE (site_id, name), 
	CONSTRAINT fk_campaign_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "campaign" VALUES(1,1,'spring',1,0,'{}','{}','Ada','2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000',NULL);
CREATE TABLE campaign_image (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	micrograph_id INTEGER NOT NULL, 
	reference VARCHAR, 
	stratum VARCHAR NOT NULL, 
	CONSTRAINT pk_campaign_image PRIMARY KEY (id), 
	CONSTRAINT uq_campaign_image_campaign_id_number UNIQUE (campaign_id, number), 
	CONSTRAINT uq_campaign_image_campaign_id_micrograph_id UNIQUE (campaign_id, micrograph_id), 
	CONSTRAINT fk_campaign_image_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_campaign_image_campaign_id_campaign FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT fk_campaign_image_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id)
);
INSERT INTO "campaign_image" VALUES(1,1,1,1,1,'G8','');
CREATE TABLE campaign_rater (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	pseudonym VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	team VARCHAR NOT NULL, 
	account VARCHAR NOT NULL, 
	hashed VARCHAR, 
	invited_at DATETIME NOT NULL, 
	CONSTRAINT pk_campaign_rater PRIMARY KEY (id), 
	CONSTRAINT uq_campaign_rater_campaign_id_pseudonym UNIQUE (campaign_id, pseudonym), 
	CONSTRAINT fk_campaign_rater_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_campaign_rater_campaign_id_campaign FOREIGN KEY(campaign_id) REFERENCES campaign (id), 
	CONSTRAINT uq_campaign_rater_hashed UNIQUE (hashed)
);
INSERT INTO "campaign_rater" VALUES(1,1,1,'R1','Bob','','Ada',NULL,'2026-11-24 21:00:00.000000');
CREATE TABLE content (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	site_id INTEGER NOT NULL, 
	source_id INTEGER NOT NULL, 
	sha256 VARCHAR, 
	size_bytes BIGINT NOT NULL, 
	state VARCHAR NOT NULL, 
	lane INTEGER NOT NULL, 
	origin VARCHAR NOT NULL, 
	code VARCHAR, 
	reason VARCHAR, 
	attempts INTEGER NOT NULL, 
	claims INTEGER NOT NULL, 
	interrupted INTEGER NOT NULL, 
	due_at DATETIME, 
	agent_id INTEGER, 
	first_seen_at DATETIME NOT NULL, 
	done_at DATETIME, 
	duplicate_of INTEGER, 
	previous_id INTEGER, 
	process_data JSON NOT NULL, 
	noted JSON DEFAULT '{}' NOT NULL, 
	CONSTRAINT fk_content_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_content_source_id_source FOREIGN KEY(source_id) REFERENCES source (id), 
	CONSTRAINT fk_content_agent_id_agent FOREIGN KEY(agent_id) REFERENCES agent (id), 
	CONSTRAINT fk_content_duplicate_of_content FOREIGN KEY(duplicate_of) REFERENCES content (id), 
	CONSTRAINT fk_content_previous_id_content FOREIGN KEY(previous_id) REFERENCES content (id)
);
INSERT INTO "content" VALUES(1,1,1,'abababababababababababababababababababababababababababababababab',10,'done',1,'watch',NULL,NULL,1,1,0,NULL,1,'2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000',NULL,NULL,'{}','{}');
INSERT INTO "content" VALUES(2,1,1,'abababababababababababababababababababababababababababababababab',10,'duplicate',1,'watch',NULL,NULL,1,1,0,NULL,1,'2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000',1,NULL,'{}','{}');
INSERT INTO "content" VALUES(3,1,1,NULL,10,'failed',1,'watch','crashed','ValueError: no idea',1,1,0,'2026-11-24 21:01:00.000000',1,'2026-11-24 21:00:00.000000',NULL,NULL,NULL,'{}','{}');
INSERT INTO "content" VALUES(4,1,1,NULL,10,'processing',1,'watch',NULL,NULL,1,1,0,'2026-11-24 21:01:00.000000',1,'2026-11-24 21:00:00.000000',NULL,NULL,NULL,'{}','{}');
INSERT INTO "content" VALUES(5,1,1,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd',10,'done',1,'watch',NULL,NULL,1,1,0,NULL,1,'2026-11-24 21:00:00.000000','2026-11-24 21:05:00.000000',NULL,1,'{}','{}');
CREATE TABLE job (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	agent_id INTEGER, 
	name VARCHAR NOT NULL, 
	due_at DATETIME, 
	started_at DATETIME, 
	ended_at DATETIME, 
	outcome VARCHAR NOT NULL, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT fk_job_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_job_agent_id_agent FOREIGN KEY(agent_id) REFERENCES agent (id)
);
INSERT INTO "job" VALUES(1,1,1,'shadow',NULL,'2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000','done','{"bundle": "20261101-beefbeef", "days": 9}');
CREATE TABLE label (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	micrograph_id INTEGER NOT NULL, 
	result_id INTEGER, 
	kind VARCHAR NOT NULL, 
	code VARCHAR, 
	strange_kind VARCHAR, 
	why VARCHAR, 
	criterion VARCHAR NOT NULL, 
	unsure BOOLEAN DEFAULT 0 NOT NULL, 
	comment VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	decided_at DATETIME NOT NULL, 
	viewing_s FLOAT, 
	blind BOOLEAN NOT NULL, 
	bulk BOOLEAN NOT NULL, 
	origin VARCHAR NOT NULL, 
	supersedes INTEGER, 
	after_record INTEGER, 
	CONSTRAINT pk_label PRIMARY KEY (id), 
	CONSTRAINT fk_label_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_label_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_label_result_id_result FOREIGN KEY(result_id) REFERENCES result (id), 
	CONSTRAINT fk_label_supersedes_label FOREIGN KEY(supersedes) REFERENCES label (id)
);
INSERT INTO "label" VALUES(1,1,1,1,'code','G8',NULL,NULL,'unrecorded',0,'sure','Ada','2026-11-24 21:00:00.000000',NULL,0,0,'review',NULL,0);
INSERT INTO "label" VALUES(2,1,2,2,'strange',NULL,'scratch',NULL,'unrecorded',0,'','Bob','2026-11-24 21:00:00.000000',NULL,0,0,'review',NULL,0);
INSERT INTO "label" VALUES(3,1,2,2,'undo',NULL,NULL,NULL,'unrecorded',0,'','Bob','2026-11-24 21:00:00.000000',NULL,0,0,'review',2,NULL);
CREATE TABLE login (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	account_id INTEGER NOT NULL, 
	began_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	CONSTRAINT pk_login PRIMARY KEY (id), 
	CONSTRAINT fk_login_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT uq_login_sha256 UNIQUE (sha256), 
	CONSTRAINT fk_login_account_id_account FOREIGN KEY(account_id) REFERENCES account (id)
);
INSERT INTO "login" VALUES(1,1,'another hash',1,'2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000',NULL);
CREATE TABLE micrograph (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	public_id VARCHAR NOT NULL, 
	content_id INTEGER NOT NULL, 
	source_id INTEGER NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	page INTEGER NOT NULL, 
	relative VARCHAR NOT NULL, 
	origin VARCHAR NOT NULL, 
	taken_at DATETIME NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	format VARCHAR NOT NULL, 
	um_per_px FLOAT, 
	um_per_px_source VARCHAR, 
	recipe VARCHAR NOT NULL, 
	crop_facts JSON NOT NULL, 
	warnings JSON NOT NULL, 
	artefacts JSON NOT NULL, 
	pruned_at DATETIME, 
	specimen_id INTEGER, 
	preparation_id INTEGER, 
	unassigned VARCHAR DEFAULT '' NOT NULL, 
	superseded JSON DEFAULT '{}' NOT NULL, 
	area_mm2 FLOAT, 
	plant VARCHAR NOT NULL, 
	microscope VARCHAR NOT NULL, 
	objective VARCHAR NOT NULL, 
	"order" VARCHAR NOT NULL, 
	heat VARCHAR NOT NULL, 
	batch VARCHAR NOT NULL, 
	specimen VARCHAR NOT NULL, 
	preparation VARCHAR NOT NULL, 
	field VARCHAR NOT NULL, 
	material VARCHAR NOT NULL, 
	etchant VARCHAR NOT NULL, 
	magnification VARCHAR NOT NULL, 
	operator VARCHAR NOT NULL, 
	process_extra JSON NOT NULL, 
	CONSTRAINT pk_micrograph PRIMARY KEY (id), 
	CONSTRAINT uq_micrograph_sha256_page_site_id UNIQUE (sha256, page, site_id), 
	CONSTRAINT uq_micrograph_public_id_site_id UNIQUE (public_id, site_id), 
	CONSTRAINT fk_micrograph_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_micrograph_content_id_content FOREIGN KEY(content_id) REFERENCES content (id), 
	CONSTRAINT fk_micrograph_source_id_source FOREIGN KEY(source_id) REFERENCES source (id), 
	CONSTRAINT fk_micrograph_specimen_id_specimen FOREIGN KEY(specimen_id) REFERENCES specimen (id), 
	CONSTRAINT fk_micrograph_preparation_id_preparation FOREIGN KEY(preparation_id) REFERENCES preparation (id)
);
INSERT INTO "micrograph" VALUES(1,1,'abababababababab',1,1,'abababababababababababababababababababababababababababababababab',0,'a.tif','watch','2026-11-24 21:00:00.000000',2000,1500,'',0.1,'metadata','1','{"id": "abababababababab", "sha256": "abababababababababababababababababababababababababababababababab", "page": 0, "width": 2000, "height": 1500, "um_per_px": 0.1, "um_per_px_source": "metadata", "crop": [0, 0, 2000, 1400], "recipe": "1", "warnings": []}','[]','{}',NULL,1,1,'','{}',NULL,'','','','4711','','','3','','','','','','','{}');
INSERT INTO "micrograph" VALUES(2,1,'cdcdcdcdcdcdcdcd',5,1,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd',0,'a.tif','watch','2026-11-24 21:05:00.000000',2000,1500,'',0.1,'metadata','1','{"id": "cdcdcdcdcdcdcdcd", "sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "page": 0, "width": 2000, "height": 1500, "um_per_px": 0.1, "um_per_px_source": "metadata", "crop": [0, 0, 2000, 1400], "recipe": "1", "warnings": []}','[]','{}',NULL,NULL,NULL,'no order number and no specimen is known of it','{}',NULL,'','','','','','','','','','','','','','{}');
CREATE TABLE needle_field (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	result_id INTEGER NOT NULL, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_needle_field PRIMARY KEY (id), 
	CONSTRAINT uq_needle_field_result_id UNIQUE (result_id), 
	CONSTRAINT fk_needle_field_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_needle_field_result_id_result FOREIGN KEY(result_id) REFERENCES result (id)
);
INSERT INTO "needle_field" VALUES(1,1,2,'{"status": "measured", "reason": "", "network": "0123456789ab", "calibration": null, "pixel_um": 0.12, "area_um2": 19200.0, "structure_share": 0.98, "measured_share": 0.9, "needles": 200, "l50_um": 11.52, "l90_um": 18.86, "l99_um": 24.39, "l50_number_um": 9.09, "l90_number_um": 13.5, "l99_number_um": 19.27, "maximum_um": 24.39, "anisotropy": 0.1, "heterogeneity": 1.3, "intercept_um": 3.0, "expected_l50_um": 9.4, "expected_error": 0.2, "longest": [{"length_um": 24.39, "expected_relative_error": 0.2, "reliable": true, "line_px": [[10.0, 8.0], [34.38750859736626, 8.0]]}, {"length_um": 20.3, "expected_relative_error": 0.2, "reliable": false, "line_px": [[10.0, 16.0], [30.295984493977667, 16.0]]}, {"length_um": 19.26, "expected_relative_error": 0.2, "reliable": true, "line_px": [[10.0, 24.0], [29.258996674574096, 24.0]]}, {"length_um": 18.87, "expected_relative_error": 0.2, "reliable": true, "line_px": [[10.0, 32.0], [28.868554698462134, 32.0]]}, {"length_um": 18.86, "expected_relative_error": 0.2, "reliable": true, "line_px": [[10.0, 40.0], [28.857780208916413, 40.0]]}], "orientation": [0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333], "histogram": {"shortest_um": 3.0, "longest_um": 200.0, "bins": 160, "first": 0, "by_number": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 2.0, 5.0, 3.0, 3.0, 4.0, 3.0, 7.0, 5.0, 1.0, 3.0, 6.0, 5.0, 5.0, 5.0, 6.0, 2.0, 7.0, 9.0, 6.0, 10.0, 8.0, 5.0, 6.0, 5.0, 3.0, 6.0, 5.0, 3.0, 3.0, 6.0, 5.0, 5.0, 2.0, 6.0, 4.0, 2.0, 3.0, 2.0, 1.0, 0.0, 0.0, 1.0, 4.0, 0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "by_area_um2": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.9548783993470495, 2.0016402727364158, 0.0, 2.2129402308925323, 2.411698743110704, 2.552637691967206, 2.62507431065956, 2.8045821233126205, 2.9770866251606343, 3.1222996307065287, 9.630876177841188, 6.80483499092162, 17.932082900268895, 11.382620604825753, 12.163715414834527, 17.18148643626067, 13.311375833247695, 33.29447008334813, 24.89663169192596, 5.138706508327061, 16.607332332920038, 34.75428126744882, 30.759452118968966, 32.065398556974, 33.816689021796265, 42.73211019703729, 14.989397452623905, 55.50859422966181, 75.82770718282654, 52.312139512106114, 93.73655546218993, 79.03128688355378, 51.804687713817884, 66.05781527534134, 57.712323587653486, 36.395039529001565, 76.26079397568776, 66.47557454375487, 42.57065909633411, 44.93051126351202, 94.26529435998646, 83.86900759856462, 87.89107969041947, 37.43709323639746, 115.37110887445306, 80.83389490159357, 43.51990757202202, 67.56066594364779, 48.55298355973582, 25.574949028535684, 0.0, 0.0, 28.921559225369492, 124.90699233697615, 0.0, 35.43218329872502, 0.0, 0.0, 120.28302041421239, 0.0, 45.76966517553137, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 66.08339728740157, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]}}');
CREATE TABLE needle_measurement (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	micrograph_id INTEGER NOT NULL, 
	start_x FLOAT NOT NULL, 
	start_y FLOAT NOT NULL, 
	end_x FLOAT NOT NULL, 
	end_y FLOAT NOT NULL, 
	um_per_px FLOAT NOT NULL, 
	length_um FLOAT NOT NULL, 
	"by" VARCHAR NOT NULL, 
	at DATETIME NOT NULL, 
	withdrawn_by VARCHAR DEFAULT '' NOT NULL, 
	withdrawn_at DATETIME, 
	CONSTRAINT pk_needle_measurement PRIMARY KEY (id), 
	CONSTRAINT fk_needle_measurement_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_needle_measurement_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id)
);
INSERT INTO "needle_measurement" VALUES(1,1,1,10.0,10.0,90.0,40.0,0.2,1.70880074906350607e+01,'Ada','2026-11-24 21:00:00.000000','',NULL);
CREATE TABLE night (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	date DATE NOT NULL, 
	revision INTEGER NOT NULL, 
	facts TEXT NOT NULL, 
	frozen_at DATETIME NOT NULL, 
	CONSTRAINT pk_night PRIMARY KEY (id), 
	CONSTRAINT uq_night_site_id_date_revision UNIQUE (site_id, date, revision), 
	CONSTRAINT fk_night_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "night" VALUES(1,1,'2026-11-24',1,'{"n": 2}','2026-11-24 21:00:00.000000');
CREATE TABLE "order" (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	number VARCHAR NOT NULL, 
	"key" VARCHAR DEFAULT '' NOT NULL, 
	customer VARCHAR NOT NULL, 
	product VARCHAR NOT NULL, 
	material VARCHAR NOT NULL, 
	urgent BOOLEAN NOT NULL, 
	legal_hold BOOLEAN NOT NULL, 
	first_seen_at DATETIME, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_order PRIMARY KEY (id), 
	CONSTRAINT uq_order_site_id_number UNIQUE (site_id, number), 
	CONSTRAINT fk_order_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "order" VALUES(1,1,'4711','4711','','','',0,0,'2026-11-24 21:00:00.000000','{"specification_record": -1}');
CREATE TABLE order_claim (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	micrograph_id INTEGER NOT NULL, 
	order_id INTEGER NOT NULL, 
	specimen VARCHAR DEFAULT '' NOT NULL, 
	origin VARCHAR DEFAULT '' NOT NULL, 
	file VARCHAR DEFAULT '' NOT NULL, 
	at DATETIME NOT NULL, 
	settled_by VARCHAR DEFAULT '' NOT NULL, 
	settled_reason VARCHAR DEFAULT '' NOT NULL, 
	settled_at DATETIME, 
	CONSTRAINT pk_order_claim PRIMARY KEY (id), 
	CONSTRAINT uq_order_claim_micrograph_id_order_id_specimen UNIQUE (micrograph_id, order_id, specimen), 
	CONSTRAINT fk_order_claim_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_order_claim_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_order_claim_order_id_order FOREIGN KEY(order_id) REFERENCES "order" (id)
);
CREATE TABLE path (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	content_id INTEGER NOT NULL, 
	source_id INTEGER NOT NULL, 
	relative VARCHAR NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	ctime_ns BIGINT NOT NULL, 
	seen_at DATETIME NOT NULL, 
	gone_at DATETIME, 
	replaced_at DATETIME, 
	CONSTRAINT pk_path PRIMARY KEY (id), 
	CONSTRAINT fk_path_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_path_content_id_content FOREIGN KEY(content_id) REFERENCES content (id), 
	CONSTRAINT fk_path_source_id_source FOREIGN KEY(source_id) REFERENCES source (id)
);
INSERT INTO "path" VALUES(1,1,1,1,'a.tif',10,1,1,'2026-11-24 21:00:00.000000',NULL,'2026-11-24 21:00:00.000000');
INSERT INTO "path" VALUES(2,1,2,1,'b.tif',10,1,1,'2026-11-24 21:00:00.000000',NULL,NULL);
INSERT INTO "path" VALUES(3,1,3,1,'c.tif',10,1,1,'2026-11-24 21:00:00.000000',NULL,NULL);
INSERT INTO "path" VALUES(4,1,4,1,'d.tif',10,1,1,'2026-11-24 21:00:00.000000',NULL,NULL);
INSERT INTO "path" VALUES(5,1,5,1,'a.tif',10,2,1,'2026-11-24 21:00:00.000000',NULL,NULL);
CREATE TABLE place (
	micrograph_id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	landmarks BLOB, 
	compared_at DATETIME, 
	CONSTRAINT pk_place PRIMARY KEY (micrograph_id), 
	CONSTRAINT fk_place_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_place_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "place" VALUES(1,1,NULL,NULL);
INSERT INTO "place" VALUES(2,1,NULL,NULL);
CREATE TABLE preparation (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	specimen_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	etchant VARCHAR NOT NULL, 
	first_seen_at DATETIME, 
	replaces INTEGER, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_preparation PRIMARY KEY (id), 
	CONSTRAINT uq_preparation_specimen_id_name UNIQUE (specimen_id, name), 
	CONSTRAINT fk_preparation_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_preparation_specimen_id_specimen FOREIGN KEY(specimen_id) REFERENCES specimen (id), 
	CONSTRAINT fk_preparation_replaces_preparation FOREIGN KEY(replaces) REFERENCES preparation (id)
);
INSERT INTO "preparation" VALUES(1,1,1,'1','','2026-11-24 21:00:00.000000',NULL,'{}');
CREATE TABLE promotion (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	bundle VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	promoted_at DATETIME NOT NULL, 
	metrics JSON NOT NULL, 
	CONSTRAINT pk_promotion PRIMARY KEY (id), 
	CONSTRAINT fk_promotion_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "promotion" VALUES(1,1,'20261101-0badcafe','Ada','first','2026-11-24 21:00:00.000000','{"n": 80}');
CREATE TABLE rating (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	rater_id INTEGER NOT NULL, 
	image_id INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	subtype VARCHAR, 
	size VARCHAR, 
	criterion VARCHAR NOT NULL, 
	comment VARCHAR NOT NULL, 
	viewing_s FLOAT, 
	given_at DATETIME NOT NULL, 
	CONSTRAINT pk_rating PRIMARY KEY (id), 
	CONSTRAINT uq_rating_rater_id_image_id_revision UNIQUE (rater_id, image_id, revision), 
	CONSTRAINT fk_rating_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_rating_rater_id_campaign_rater FOREIGN KEY(rater_id) REFERENCES campaign_rater (id), 
	CONSTRAINT fk_rating_image_id_campaign_image FOREIGN KEY(image_id) REFERENCES campaign_image (id)
);
INSERT INTO "rating" VALUES(1,1,1,1,1,'G','8','mean','',NULL,'2026-11-24 21:00:00.000000');
CREATE TABLE record (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	at DATETIME NOT NULL, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_record PRIMARY KEY (id), 
	CONSTRAINT fk_record_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
CREATE TABLE result (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	micrograph_id INTEGER NOT NULL, 
	agent_id INTEGER, 
	bundle VARCHAR NOT NULL, 
	recipe VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	current BOOLEAN NOT NULL, 
	origin VARCHAR NOT NULL, 
	done_at DATETIME NOT NULL, 
	handling VARCHAR NOT NULL, 
	reasons JSON NOT NULL, 
	review_rank INTEGER, 
	subtype VARCHAR, 
	subtype_probabilities JSON NOT NULL, 
	size VARCHAR, 
	size_min INTEGER, 
	size_max INTEGER, 
	size_probabilities JSON NOT NULL, 
	structure_code VARCHAR, 
	probability FLOAT, 
	probabilities JSON NOT NULL, 
	prediction_set JSON NOT NULL, 
	coarser_share JSON NOT NULL, 
	p_value FLOAT, 
	strangeness JSON NOT NULL, 
	thresholds JSON NOT NULL, 
	expected JSON DEFAULT '{}' NOT NULL, 
	engine VARCHAR NOT NULL, 
	precision VARCHAR NOT NULL, 
	after_record INTEGER, 
	filed TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_result PRIMARY KEY (id), 
	CONSTRAINT uq_result_micrograph_id_bundle_recipe UNIQUE (micrograph_id, bundle, recipe), 
	CONSTRAINT fk_result_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_result_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_result_agent_id_agent FOREIGN KEY(agent_id) REFERENCES agent (id)
);
INSERT INTO "result" VALUES(1,1,1,1,'20261101-0badcafe','1','live',1,'watch','2026-11-24 21:00:00.000000','review','["uncertain"]',NULL,'G','{"B": 0.03, "G": 0.94, "M": 0.03}','8',8,8,'{"7": 0.04999999999999999, "8": 0.9, "9-10": 0.04999999999999999}','G8',0.846,'{"G7": 0.046999999999999986, "G8": 0.846, "G9-10": 0.046999999999999986}','["G8"]','{"8": 0.1}',0.4,'{"p_value": 0.4, "flagged": false, "whole": 1.0, "local": 0.4, "where": null, "sentence": "1 in 3 reference images scores as high.", "message": {"id": "{rare}.", "parameters": {"rare": {"id": "1 in {n} reference images scores as high", "parameters": {"n": 3}}}}, "nearest": {}, "look": "fine", "area_um2": null, "defects": [], "companions": {}}','{}','{}','pytorch','fp32',0,'{"handling":"review","hints":"c31f906d5fec8faf73dabb9581a89f6914becad53915441e4f53742312ae12ae12ae12ae12ae44136b8644136b866b862cdc3915844573dabb95aa61ab65ade12c622c6276c5f724fe348c490d7a76cff3e33fb14413441381f5b6295fec","judged":{"bundle":"20261101-0badcafe","facts":{},"first_seen_at":"2026-11-24T21:00:00+00:00"},"landmarks":"","micrograph":"0c471e059ffc3531b57285ab0cba16a4f355e02cd3d6017cbe3127b5f66015c0","names":{"order":"4711","specimen":"3"},"place":["4711","3","1"],"prepared":{"first_seen_at":"2026-11-24T21:00:00+00:00"},"reasons":["uncertain"],"result":"5d671e0d668f5a6ee9082e9c9e1abfd613e36a8fbd8b104e831bbee7904af87a","source":"LOM-07"}');
INSERT INTO "result" VALUES(2,1,2,1,'20261101-0badcafe','1','live',1,'watch','2026-11-24 21:05:00.000000','review','["uncertain"]',2845999,'G','{"B": 0.03, "G": 0.94, "M": 0.03}','8',8,8,'{"7": 0.04999999999999999, "8": 0.9, "9-10": 0.04999999999999999}','G8',0.846,'{"G7": 0.046999999999999986, "G8": 0.846, "G9-10": 0.046999999999999986}','["G8"]','{"8": 0.1}',0.4,'{"p_value": 0.4, "flagged": false, "whole": 1.0, "local": 0.4, "where": null, "sentence": "1 in 3 reference images scores as high.", "message": {"id": "{rare}.", "parameters": {"rare": {"id": "1 in {n} reference images scores as high", "parameters": {"n": 3}}}}, "nearest": {}, "look": "fine", "area_um2": null, "defects": [], "companions": {}}','{}','{}','pytorch','fp32',0,'{"handling":"review","hints":"986d11ce5fec8faf73dad02981a89f6914becad53915fbff4f53742312ae12ae12ae12ae12ae44136b864413d4736b862cdc3915844573dad029aa61ab65ade12c622c6276c5f724fe348c490d7a76cff3e33fb14413441381f5b6295fec","landmarks":"","micrograph":"9ed93eef63e8e1b4054824ea3d4fcf8118462488efb4c3ca325fcef7e944450e","names":{},"needles":"e12fcba97f7446a5bf5a311a4bd2221edfbe3ac4de218031f50cf7dfd4210a09","reasons":["uncertain"],"result":"d02ac86d4d8ca54344be4179d056a62306e4cc608155197285c89ee3044d0dcf","source":"LOM-07","unassigned":"no order number and no specimen is known of it"}');
CREATE TABLE rollout (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	bundle VARCHAR NOT NULL, 
	previous VARCHAR, 
	state VARCHAR NOT NULL, 
	step INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	rings JSON NOT NULL, 
	"by" VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	metrics JSON NOT NULL, 
	baseline JSON NOT NULL, 
	baseline_host VARCHAR NOT NULL, 
	started_at DATETIME NOT NULL, 
	step_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	stopped_by VARCHAR NOT NULL, 
	why JSON NOT NULL, 
	CONSTRAINT pk_rollout PRIMARY KEY (id), 
	CONSTRAINT fk_rollout_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "rollout" VALUES(1,1,'20261102-cafebabe','20261101-0badcafe','running',1,1,'{"first": ["PC"], "share": 0.1, "wait_minutes": 60.0, "absent_minutes": 10.0, "tolerance": 0.01}','Ada','in rings','{"n": 80, "decision": {"signatures": [{"by": "Ada", "reason": "in rings", "at": "2026-11-24T21:00:00+00:00", "shown": {}}]}}','{"g8": {"image": "g8.tif", "code": "G8", "probability": 0.9}}','PC','2026-11-24 21:00:00.000000','2026-11-24 21:00:00.000000',NULL,'','{}');
CREATE TABLE rollout_host (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	rollout_id INTEGER NOT NULL, 
	agent_id INTEGER NOT NULL, 
	ring INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	judged_at DATETIME, 
	n INTEGER NOT NULL, 
	same_codes INTEGER NOT NULL, 
	max_difference FLOAT, 
	message JSON NOT NULL, 
	CONSTRAINT pk_rollout_host PRIMARY KEY (id), 
	CONSTRAINT uq_rollout_host_rollout_id_agent_id UNIQUE (rollout_id, agent_id), 
	CONSTRAINT fk_rollout_host_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_rollout_host_rollout_id_rollout FOREIGN KEY(rollout_id) REFERENCES rollout (id), 
	CONSTRAINT fk_rollout_host_agent_id_agent FOREIGN KEY(agent_id) REFERENCES agent (id)
);
INSERT INTO "rollout_host" VALUES(1,1,1,1,1,'agreed','2026-11-24 21:00:00.000000',1,1,0.0,'{}');
CREATE TABLE same_place (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	micrograph_id INTEGER NOT NULL, 
	other_id INTEGER NOT NULL, 
	share FLOAT NOT NULL, 
	area_px FLOAT NOT NULL, 
	facts JSON NOT NULL, 
	found_at DATETIME NOT NULL, 
	verdict VARCHAR DEFAULT '' NOT NULL, 
	belongs_id INTEGER, 
	"by" VARCHAR DEFAULT '' NOT NULL, 
	reason VARCHAR DEFAULT '' NOT NULL, 
	decided_at DATETIME, 
	CONSTRAINT pk_same_place PRIMARY KEY (id), 
	CONSTRAINT uq_same_place_micrograph_id_other_id UNIQUE (micrograph_id, other_id), 
	CONSTRAINT fk_same_place_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_same_place_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_same_place_other_id_micrograph FOREIGN KEY(other_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_same_place_belongs_id_micrograph FOREIGN KEY(belongs_id) REFERENCES micrograph (id)
);
CREATE TABLE saved_view (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	owner VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	"query" VARCHAR DEFAULT '' NOT NULL, 
	saved_at DATETIME NOT NULL, 
	CONSTRAINT pk_saved_view PRIMARY KEY (id), 
	CONSTRAINT uq_saved_view_site_id_owner_name UNIQUE (site_id, owner, name), 
	CONSTRAINT fk_saved_view_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
CREATE TABLE search_entry (
	micrograph_id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	taken_at DATETIME NOT NULL, 
	source VARCHAR DEFAULT '' NOT NULL, 
	code VARCHAR DEFAULT '' NOT NULL, 
	outcome VARCHAR DEFAULT '' NOT NULL, 
	microscope VARCHAR DEFAULT '' NOT NULL, 
	reviewer VARCHAR DEFAULT '' NOT NULL, 
	digest VARCHAR DEFAULT '' NOT NULL, 
	CONSTRAINT pk_search_entry PRIMARY KEY (micrograph_id), 
	CONSTRAINT fk_search_entry_micrograph_id_micrograph FOREIGN KEY(micrograph_id) REFERENCES micrograph (id), 
	CONSTRAINT fk_search_entry_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "search_entry" VALUES(1,1,'2026-11-24 21:00:00.000000','LOM-07','G8','confirmed','','Ada','1221020cb85c006d');
INSERT INTO "search_entry" VALUES(2,1,'2026-11-24 21:05:00.000000','LOM-07','G8','waiting','','','6486508486a18f11');
CREATE TABLE site (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	shares_accounts BOOLEAN DEFAULT 0 NOT NULL, 
	shares_bundles BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_site PRIMARY KEY (id), 
	CONSTRAINT uq_site_name UNIQUE (name)
);
INSERT INTO "site" VALUES(1,'Plant 1',0,0);
CREATE TABLE source (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	folder VARCHAR NOT NULL, 
	mode VARCHAR NOT NULL, 
	online BOOLEAN NOT NULL, 
	offline_since DATETIME, 
	last_scan_at DATETIME, 
	found_by_scan INTEGER NOT NULL, 
	found_by_event INTEGER NOT NULL, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_source PRIMARY KEY (id), 
	CONSTRAINT uq_source_site_id_name UNIQUE (site_id, name), 
	CONSTRAINT fk_source_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
INSERT INTO "source" VALUES(1,1,'LOM-07','/mnt/lom','',1,NULL,NULL,0,0,'{}');
CREATE TABLE specification (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	valid_from DATE NOT NULL, 
	approved_by VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	entry JSON NOT NULL, 
	seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_specification PRIMARY KEY (id), 
	CONSTRAINT uq_specification_name_version_site_id UNIQUE (name, version, site_id), 
	CONSTRAINT fk_specification_site_id_site FOREIGN KEY(site_id) REFERENCES site (id)
);
CREATE TABLE specimen (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	order_id INTEGER, 
	name VARCHAR NOT NULL, 
	heat VARCHAR NOT NULL, 
	batch VARCHAR NOT NULL, 
	material VARCHAR NOT NULL, 
	bundle VARCHAR, 
	first_seen_at DATETIME, 
	facts JSON NOT NULL, 
	CONSTRAINT pk_specimen PRIMARY KEY (id), 
	CONSTRAINT uq_specimen_site_id_order_id_name UNIQUE (site_id, order_id, name), 
	CONSTRAINT fk_specimen_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_specimen_order_id_order FOREIGN KEY(order_id) REFERENCES "order" (id)
);
INSERT INTO "specimen" VALUES(1,1,1,'3','','','','20261101-0badcafe','2026-11-24 21:00:00.000000','{}');
CREATE TABLE statement (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	order_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	previous_sha256 VARCHAR DEFAULT '' NOT NULL, 
	conformity VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	final BOOLEAN NOT NULL, 
	at DATETIME NOT NULL, 
	document TEXT NOT NULL, 
	CONSTRAINT pk_statement PRIMARY KEY (id), 
	CONSTRAINT uq_statement_order_id_number UNIQUE (order_id, number), 
	CONSTRAINT uq_statement_sha256_site_id UNIQUE (sha256, site_id), 
	CONSTRAINT fk_statement_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_statement_order_id_order FOREIGN KEY(order_id) REFERENCES "order" (id)
);
INSERT INTO "statement" VALUES(1,1,1,1,'bf8d70ff28db24783d06fe29b4931873508daf31ff70ec3c295be82fb2e4935e','','conforms','a.b',1,'2026-11-24 21:00:00.000000','{"at":"2026-11-24T21:00:00+00:00","conformity":"conforms","number":1,"order":"4711"}');
CREATE TABLE statement_file (
	id INTEGER NOT NULL, 
	site_id INTEGER NOT NULL, 
	statement_id INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	language VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	signed_by VARCHAR DEFAULT '' NOT NULL, 
	note VARCHAR DEFAULT '' NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_statement_file PRIMARY KEY (id), 
	CONSTRAINT uq_statement_file_statement_id_kind UNIQUE (statement_id, kind), 
	CONSTRAINT fk_statement_file_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT fk_statement_file_statement_id_statement FOREIGN KEY(statement_id) REFERENCES statement (id)
);
INSERT INTO "statement_file" VALUES(1,1,1,'pdf','en','a hash',3,'','','2026-11-24 21:00:00.000000');
CREATE TABLE trail (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	site_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	actor VARCHAR NOT NULL, 
	act VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	facts TEXT NOT NULL, 
	previous_sha256 VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	CONSTRAINT uq_trail_previous_sha256_site_id UNIQUE (previous_sha256, site_id), 
	CONSTRAINT fk_trail_site_id_site FOREIGN KEY(site_id) REFERENCES site (id), 
	CONSTRAINT uq_trail_sha256 UNIQUE (sha256)
);
INSERT INTO "trail" VALUES(1,1,'2026-11-24 21:00:00.000000','agent','order.seen','4711','{"order": 1, "specification_record": -1}','0000000000000000000000000000000000000000000000000000000000000000','3bc8c399f479c0a99cf2d1e07cf8344db338ce6ea33d14c9c09082e4a155e5a1');
INSERT INTO "trail" VALUES(2,1,'2026-11-24 21:00:00.000000','Ada','label.given','abababababababab','{"after_record": 0, "blind": false, "bulk": false, "code": "G8", "comment": "sure", "criterion": "unrecorded", "kind": "code", "label": 1, "origin": "review", "result": 1, "unsure": false}','3bc8c399f479c0a99cf2d1e07cf8344db338ce6ea33d14c9c09082e4a155e5a1','c254673146cac3ba62bd5d333d7da46e24c1e97242b58ec750745f7c67a3286c');
INSERT INTO "trail" VALUES(3,1,'2026-11-24 21:00:00.000000','Bob','label.given','cdcdcdcdcdcdcdcd','{"after_record": 0, "blind": false, "bulk": false, "criterion": "unrecorded", "kind": "strange", "label": 2, "origin": "review", "result": 2, "strange_kind": "scratch", "unsure": false}','c254673146cac3ba62bd5d333d7da46e24c1e97242b58ec750745f7c67a3286c','538edd49eb53da332e737a56465f471f66fa2190001c748e405b7512adb6276f');
INSERT INTO "trail" VALUES(4,1,'2026-11-24 21:00:00.000000','Bob','label.undone','cdcdcdcdcdcdcdcd','{"blind": false, "bulk": false, "criterion": "unrecorded", "kind": "undo", "label": 3, "origin": "review", "result": 2, "supersedes": 2, "unsure": false}','538edd49eb53da332e737a56465f471f66fa2190001c748e405b7512adb6276f','a41057ba9eedc607675b01a101d6e86d0bfd78263489657546ed4bd111920c6b');
INSERT INTO "trail" VALUES(5,1,'2026-11-24 21:00:00.000000','Ada','model.promoted','20261101-0badcafe','{"metrics": {"n": 80}, "promotion": 1, "reason": "first"}','a41057ba9eedc607675b01a101d6e86d0bfd78263489657546ed4bd111920c6b','2ed71f545eb872254f33537237d2a0b68a9a2929b81039528cfb1c429942201e');
INSERT INTO "trail" VALUES(6,1,'2026-11-24 21:00:00.000000','agent','statement.frozen','4711','{"conformity": "conforms", "final": true, "number": 1, "sha256": "bf8d70ff28db24783d06fe29b4931873508daf31ff70ec3c295be82fb2e4935e", "state": "a.b"}','2ed71f545eb872254f33537237d2a0b68a9a2929b81039528cfb1c429942201e','07adf62527ffe08e88cbe0069e82e95696a044132f9d5f382b0673838f2beb7a');
INSERT INTO "trail" VALUES(7,1,'2026-11-24 21:00:00.000000','agent','statement.filed','4711','{"kind": "pdf", "sha256": "a hash", "statement": "bf8d70ff28db24783d06fe29b4931873508daf31ff70ec3c295be82fb2e4935e"}','07adf62527ffe08e88cbe0069e82e95696a044132f9d5f382b0673838f2beb7a','3e9e01afd7ce79f3967787ceb8c3230be036e549908e4bc33bde05c607b4558d');
INSERT INTO "trail" VALUES(8,1,'2026-11-24 21:00:00.000000','agent','night.reported','2026-11-24','{"revision": 1, "sha256": "fcb7ecf22a686fde527cafa2dd308d1c321ff6d1baddedf24668afbba85a7d64"}','3e9e01afd7ce79f3967787ceb8c3230be036e549908e4bc33bde05c607b4558d','e1555d8a66c0be541bca2f374c7232a764ad99390df5b681113a3a7907e3ffa4');
INSERT INTO "trail" VALUES(9,1,'2026-11-24 21:00:00.000000','Ada','account.added','Ada','{"kind": "person", "role": "lead", "secret": "6c615476fa21a2e0b2dad93f7b12790b75bc421d0a33e2ab93fb53d7fd48f958"}','e1555d8a66c0be541bca2f374c7232a764ad99390df5b681113a3a7907e3ffa4','ef76ff768a6221df57f3cb42324136c3580e41b2a931bd0df04c46cefb16f643');
INSERT INTO "trail" VALUES(10,1,'2026-11-24 21:00:00.000000','Ada','login.began','web','{"login": "fb55fcb32598e81645151e448281f308d3cba82be5955b37d8b5c8f4a44a5772"}','ef76ff768a6221df57f3cb42324136c3580e41b2a931bd0df04c46cefb16f643','ddfd288d374ace9e44ace303183a46894973e1c3f57eb3df86e0b02da2271707');
INSERT INTO "trail" VALUES(11,1,'2026-11-24 21:00:00.000000','Ada','campaign.planned','spring','{"images": 1, "raters": 1, "seed": 1}','ddfd288d374ace9e44ace303183a46894973e1c3f57eb3df86e0b02da2271707','d2188ab886128d93708f63de28c4813bf60f0a8129221c3150c8da48b5a557db');
INSERT INTO "trail" VALUES(12,1,'2026-11-24 21:00:00.000000','Ada','campaign.opened','spring','{}','d2188ab886128d93708f63de28c4813bf60f0a8129221c3150c8da48b5a557db','65e91ed2228b90a3da58204727dde5c983a5365a3693b293fabbe7c3c05ed45b');
INSERT INTO "trail" VALUES(13,1,'2026-11-24 21:00:00.000000','Ada','needle.measured','abababababababab','{"end_x": 90.0, "end_y": 40.0, "length_um": 17.08800749063506, "needle": 1, "start_x": 10.0, "start_y": 10.0, "um_per_px": 0.2}','65e91ed2228b90a3da58204727dde5c983a5365a3693b293fabbe7c3c05ed45b','60e9c0ef4d3e0b48bca1f4410c7faa4eea0d518f17775752fd763d2ef7c9c1b7');
INSERT INTO "trail" VALUES(14,1,'2026-11-24 21:00:00.000000','Ada','rollout.started','20261102-cafebabe','{"absent_minutes": 10.0, "attempt": 1, "first": ["PC"], "metrics": {"decision": {"signatures": [{"at": "2026-11-24T21:00:00+00:00", "by": "Ada", "reason": "in rings", "shown": {}}]}, "n": 80}, "previous": "20261101-0badcafe", "reason": "in rings", "rollout": 1, "share": 0.1, "step": 1, "tolerance": 0.01, "wait_minutes": 60.0}','60e9c0ef4d3e0b48bca1f4410c7faa4eea0d518f17775752fd763d2ef7c9c1b7','f00cbe6cc3a2e96dcfc24589573c9b9e532d9e6330fc395714786f8c1b7acfb6');
CREATE INDEX ix_trail_at ON trail (at);
CREATE INDEX ix_record_subject ON record (site_id, kind, subject, id);
CREATE UNIQUE INDEX uq_rollout_running ON rollout (site_id) WHERE state = 'running';
CREATE UNIQUE INDEX uq_order_site_id_key ON "order" (site_id, "key");
CREATE INDEX ix_job_name ON job (name);
CREATE INDEX ix_content_due ON content (site_id, lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ix_content_previous_id ON content (previous_id) WHERE previous_id IS NOT NULL;
CREATE INDEX ix_content_site_id_state_id ON content (site_id, state, id);
CREATE INDEX ix_content_source_id ON content (source_id);
CREATE UNIQUE INDEX uq_content_sha256_not_duplicate ON content (sha256, site_id) WHERE state != 'duplicate' AND sha256 IS NOT NULL;
CREATE INDEX ix_content_duplicate_of ON content (duplicate_of) WHERE duplicate_of IS NOT NULL;
CREATE INDEX ix_specimen_order_id ON specimen (order_id);
CREATE INDEX ix_statement_site_id ON statement (site_id);
CREATE INDEX ix_login_account_id ON login (account_id);
CREATE INDEX ix_path_content_id ON path (content_id);
CREATE UNIQUE INDEX uq_path_current ON path (source_id, relative) WHERE replaced_at IS NULL;
CREATE INDEX ix_path_mtime_ns ON path (mtime_ns);
CREATE INDEX ix_micrograph_site_id_order ON micrograph (site_id, "order");
CREATE INDEX ix_micrograph_content_id ON micrograph (content_id);
CREATE INDEX ix_micrograph_specimen_id ON micrograph (specimen_id);
CREATE INDEX ix_micrograph_unassigned ON micrograph (site_id, id) WHERE unassigned != '';
CREATE INDEX ix_micrograph_taken_at ON micrograph (taken_at);
CREATE INDEX ix_result_night ON result (site_id, done_at) WHERE current IS 1 AND origin = 'watch';
CREATE UNIQUE INDEX uq_result_current ON result (micrograph_id) WHERE current IS 1;
CREATE INDEX ix_result_queue ON result (site_id, review_rank, done_at) WHERE review_rank IS NOT NULL;
CREATE INDEX ix_place_pending ON place (site_id, micrograph_id) WHERE compared_at IS NULL;
CREATE INDEX ix_place_site_id ON place (site_id, micrograph_id);
CREATE INDEX ix_same_place_other_id ON same_place (other_id);
CREATE INDEX ix_needle_measurement_micrograph_id ON needle_measurement (micrograph_id);
CREATE INDEX ix_order_claim_order_id ON order_claim (order_id);
CREATE INDEX ix_campaign_image_micrograph_id ON campaign_image (micrograph_id);
CREATE INDEX ix_search_entry_taken_at ON search_entry (taken_at, micrograph_id);
CREATE INDEX ix_label_decided_at ON label (decided_at);
CREATE INDEX ix_label_micrograph_id ON label (micrograph_id);
CREATE INDEX ix_rating_image_id ON rating (image_id);
CREATE TRIGGER "guard_trail_update" BEFORE UPDATE ON "trail" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."at" IS NOT NEW."at" OR OLD."actor" IS NOT NEW."actor" OR OLD."act" IS NOT NEW."act" OR OLD."subject" IS NOT NEW."subject" OR OLD."facts" IS NOT NEW."facts" OR OLD."previous_sha256" IS NOT NEW."previous_sha256" OR OLD."sha256" IS NOT NEW."sha256" BEGIN SELECT RAISE(ABORT, 'trail is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_trail_delete" BEFORE DELETE ON "trail" BEGIN SELECT RAISE(ABORT, 'trail is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_trail_insert" BEFORE INSERT ON "trail" WHEN EXISTS (SELECT 1 FROM "trail" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'trail is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_label_update" BEFORE UPDATE ON "label" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."result_id" IS NOT NEW."result_id" OR OLD."kind" IS NOT NEW."kind" OR OLD."code" IS NOT NEW."code" OR OLD."strange_kind" IS NOT NEW."strange_kind" OR OLD."why" IS NOT NEW."why" OR OLD."criterion" IS NOT NEW."criterion" OR OLD."unsure" IS NOT NEW."unsure" OR OLD."comment" IS NOT NEW."comment" OR OLD."by" IS NOT NEW."by" OR OLD."decided_at" IS NOT NEW."decided_at" OR OLD."viewing_s" IS NOT NEW."viewing_s" OR OLD."blind" IS NOT NEW."blind" OR OLD."bulk" IS NOT NEW."bulk" OR OLD."origin" IS NOT NEW."origin" OR OLD."supersedes" IS NOT NEW."supersedes" OR OLD."after_record" IS NOT NEW."after_record" BEGIN SELECT RAISE(ABORT, 'label is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_label_delete" BEFORE DELETE ON "label" BEGIN SELECT RAISE(ABORT, 'label is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_label_insert" BEFORE INSERT ON "label" WHEN EXISTS (SELECT 1 FROM "label" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'label is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_record_update" BEFORE UPDATE ON "record" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."kind" IS NOT NEW."kind" OR OLD."subject" IS NOT NEW."subject" OR OLD."by" IS NOT NEW."by" OR OLD."at" IS NOT NEW."at" OR OLD."facts" IS NOT NEW."facts" BEGIN SELECT RAISE(ABORT, 'record is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_record_delete" BEFORE DELETE ON "record" BEGIN SELECT RAISE(ABORT, 'record is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_record_insert" BEFORE INSERT ON "record" WHEN EXISTS (SELECT 1 FROM "record" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'record is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_promotion_update" BEFORE UPDATE ON "promotion" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."bundle" IS NOT NEW."bundle" OR OLD."by" IS NOT NEW."by" OR OLD."reason" IS NOT NEW."reason" OR OLD."promoted_at" IS NOT NEW."promoted_at" OR OLD."metrics" IS NOT NEW."metrics" BEGIN SELECT RAISE(ABORT, 'promotion is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_promotion_delete" BEFORE DELETE ON "promotion" BEGIN SELECT RAISE(ABORT, 'promotion is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_promotion_insert" BEFORE INSERT ON "promotion" WHEN EXISTS (SELECT 1 FROM "promotion" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'promotion is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_specification_update" BEFORE UPDATE ON "specification" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."name" IS NOT NEW."name" OR OLD."version" IS NOT NEW."version" OR OLD."valid_from" IS NOT NEW."valid_from" OR OLD."approved_by" IS NOT NEW."approved_by" OR OLD."sha256" IS NOT NEW."sha256" OR OLD."entry" IS NOT NEW."entry" OR OLD."seen_at" IS NOT NEW."seen_at" BEGIN SELECT RAISE(ABORT, 'specification is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_specification_delete" BEFORE DELETE ON "specification" BEGIN SELECT RAISE(ABORT, 'specification is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_specification_insert" BEFORE INSERT ON "specification" WHEN EXISTS (SELECT 1 FROM "specification" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'specification is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_night_update" BEFORE UPDATE ON "night" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."date" IS NOT NEW."date" OR OLD."revision" IS NOT NEW."revision" OR OLD."facts" IS NOT NEW."facts" OR OLD."frozen_at" IS NOT NEW."frozen_at" BEGIN SELECT RAISE(ABORT, 'night is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_night_delete" BEFORE DELETE ON "night" BEGIN SELECT RAISE(ABORT, 'night is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_night_insert" BEFORE INSERT ON "night" WHEN EXISTS (SELECT 1 FROM "night" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'night is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_rating_update" BEFORE UPDATE ON "rating" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."rater_id" IS NOT NEW."rater_id" OR OLD."image_id" IS NOT NEW."image_id" OR OLD."revision" IS NOT NEW."revision" OR OLD."subtype" IS NOT NEW."subtype" OR OLD."size" IS NOT NEW."size" OR OLD."criterion" IS NOT NEW."criterion" OR OLD."comment" IS NOT NEW."comment" OR OLD."viewing_s" IS NOT NEW."viewing_s" OR OLD."given_at" IS NOT NEW."given_at" BEGIN SELECT RAISE(ABORT, 'rating is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_rating_delete" BEFORE DELETE ON "rating" BEGIN SELECT RAISE(ABORT, 'rating is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_rating_insert" BEFORE INSERT ON "rating" WHEN EXISTS (SELECT 1 FROM "rating" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'rating is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_needle_field_update" BEFORE UPDATE ON "needle_field" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."result_id" IS NOT NEW."result_id" OR OLD."facts" IS NOT NEW."facts" BEGIN SELECT RAISE(ABORT, 'needle_field is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_needle_field_delete" BEFORE DELETE ON "needle_field" BEGIN SELECT RAISE(ABORT, 'needle_field is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_needle_field_insert" BEFORE INSERT ON "needle_field" WHEN EXISTS (SELECT 1 FROM "needle_field" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'needle_field is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_needle_measurement_update" BEFORE UPDATE ON "needle_measurement" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."start_x" IS NOT NEW."start_x" OR OLD."start_y" IS NOT NEW."start_y" OR OLD."end_x" IS NOT NEW."end_x" OR OLD."end_y" IS NOT NEW."end_y" OR OLD."um_per_px" IS NOT NEW."um_per_px" OR OLD."length_um" IS NOT NEW."length_um" OR OLD."by" IS NOT NEW."by" OR OLD."at" IS NOT NEW."at" OR (coalesce(OLD."withdrawn_by", '') != '' AND OLD."withdrawn_by" IS NOT NEW."withdrawn_by") OR (coalesce(OLD."withdrawn_at", '') != '' AND OLD."withdrawn_at" IS NOT NEW."withdrawn_at") BEGIN SELECT RAISE(ABORT, 'needle_measurement is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_needle_measurement_delete" BEFORE DELETE ON "needle_measurement" BEGIN SELECT RAISE(ABORT, 'needle_measurement is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_needle_measurement_insert" BEFORE INSERT ON "needle_measurement" WHEN EXISTS (SELECT 1 FROM "needle_measurement" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'needle_measurement is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_statement_update" BEFORE UPDATE ON "statement" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."order_id" IS NOT NEW."order_id" OR OLD."number" IS NOT NEW."number" OR OLD."sha256" IS NOT NEW."sha256" OR OLD."previous_sha256" IS NOT NEW."previous_sha256" OR OLD."conformity" IS NOT NEW."conformity" OR OLD."state" IS NOT NEW."state" OR OLD."final" IS NOT NEW."final" OR OLD."at" IS NOT NEW."at" OR OLD."document" IS NOT NEW."document" BEGIN SELECT RAISE(ABORT, 'statement is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_statement_delete" BEFORE DELETE ON "statement" BEGIN SELECT RAISE(ABORT, 'statement is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_statement_insert" BEFORE INSERT ON "statement" WHEN EXISTS (SELECT 1 FROM "statement" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'statement is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_statement_file_update" BEFORE UPDATE ON "statement_file" WHEN OLD."id" IS NOT NEW."id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."statement_id" IS NOT NEW."statement_id" OR OLD."kind" IS NOT NEW."kind" OR OLD."language" IS NOT NEW."language" OR OLD."sha256" IS NOT NEW."sha256" OR OLD."size_bytes" IS NOT NEW."size_bytes" OR OLD."signed_by" IS NOT NEW."signed_by" OR OLD."note" IS NOT NEW."note" OR OLD."at" IS NOT NEW."at" BEGIN SELECT RAISE(ABORT, 'statement_file is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_statement_file_delete" BEFORE DELETE ON "statement_file" BEGIN SELECT RAISE(ABORT, 'statement_file is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_statement_file_insert" BEFORE INSERT ON "statement_file" WHEN EXISTS (SELECT 1 FROM "statement_file" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'statement_file is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_order_update" BEFORE UPDATE ON "order" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."number" IS NOT NEW."number" OR OLD."first_seen_at" IS NOT NEW."first_seen_at" BEGIN SELECT RAISE(ABORT, 'order is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_order_delete" BEFORE DELETE ON "order" BEGIN SELECT RAISE(ABORT, 'order is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_order_insert" BEFORE INSERT ON "order" WHEN EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'order is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_specimen_update" BEFORE UPDATE ON "specimen" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."order_id" IS NOT NEW."order_id" OR OLD."name" IS NOT NEW."name" OR OLD."first_seen_at" IS NOT NEW."first_seen_at" OR OLD."facts" IS NOT NEW."facts" OR (coalesce(OLD."bundle", '') != '' AND OLD."bundle" IS NOT NEW."bundle") OR (coalesce(OLD."heat", '') != '' AND OLD."heat" IS NOT NEW."heat") OR (coalesce(OLD."batch", '') != '' AND OLD."batch" IS NOT NEW."batch") OR (coalesce(OLD."material", '') != '' AND OLD."material" IS NOT NEW."material") BEGIN SELECT RAISE(ABORT, 'specimen is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_specimen_delete" BEFORE DELETE ON "specimen" BEGIN SELECT RAISE(ABORT, 'specimen is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_specimen_insert" BEFORE INSERT ON "specimen" WHEN EXISTS (SELECT 1 FROM "specimen" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'specimen is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_preparation_update" BEFORE UPDATE ON "preparation" WHEN OLD."specimen_id" IS NOT NEW."specimen_id" OR OLD."name" IS NOT NEW."name" OR OLD."first_seen_at" IS NOT NEW."first_seen_at" OR OLD."replaces" IS NOT NEW."replaces" BEGIN SELECT RAISE(ABORT, 'preparation is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_preparation_delete" BEFORE DELETE ON "preparation" BEGIN SELECT RAISE(ABORT, 'preparation is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_preparation_insert" BEFORE INSERT ON "preparation" WHEN EXISTS (SELECT 1 FROM "preparation" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'preparation is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_micrograph_update" BEFORE UPDATE ON "micrograph" WHEN OLD."public_id" IS NOT NEW."public_id" OR OLD."sha256" IS NOT NEW."sha256" OR OLD."page" IS NOT NEW."page" OR OLD."relative" IS NOT NEW."relative" OR OLD."origin" IS NOT NEW."origin" OR OLD."taken_at" IS NOT NEW."taken_at" OR OLD."width" IS NOT NEW."width" OR OLD."height" IS NOT NEW."height" OR OLD."um_per_px" IS NOT NEW."um_per_px" OR OLD."um_per_px_source" IS NOT NEW."um_per_px_source" OR OLD."recipe" IS NOT NEW."recipe" OR OLD."crop_facts" IS NOT NEW."crop_facts" OR OLD."warnings" IS NOT NEW."warnings" OR OLD."area_mm2" IS NOT NEW."area_mm2" OR OLD."plant" IS NOT NEW."plant" OR OLD."microscope" IS NOT NEW."microscope" OR OLD."objective" IS NOT NEW."objective" OR OLD."magnification" IS NOT NEW."magnification" OR OLD."operator" IS NOT NEW."operator" OR OLD."process_extra" IS NOT NEW."process_extra" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."source_id" IS NOT NEW."source_id" BEGIN SELECT RAISE(ABORT, 'micrograph is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_micrograph_delete" BEFORE DELETE ON "micrograph" BEGIN SELECT RAISE(ABORT, 'micrograph is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_micrograph_insert" BEFORE INSERT ON "micrograph" WHEN EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'micrograph is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_result_update" BEFORE UPDATE ON "result" WHEN OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."bundle" IS NOT NEW."bundle" OR OLD."recipe" IS NOT NEW."recipe" OR OLD."role" IS NOT NEW."role" OR OLD."origin" IS NOT NEW."origin" OR OLD."done_at" IS NOT NEW."done_at" OR OLD."subtype" IS NOT NEW."subtype" OR OLD."subtype_probabilities" IS NOT NEW."subtype_probabilities" OR OLD."size" IS NOT NEW."size" OR OLD."size_min" IS NOT NEW."size_min" OR OLD."size_max" IS NOT NEW."size_max" OR OLD."size_probabilities" IS NOT NEW."size_probabilities" OR OLD."structure_code" IS NOT NEW."structure_code" OR OLD."probability" IS NOT NEW."probability" OR OLD."probabilities" IS NOT NEW."probabilities" OR OLD."prediction_set" IS NOT NEW."prediction_set" OR OLD."coarser_share" IS NOT NEW."coarser_share" OR OLD."p_value" IS NOT NEW."p_value" OR OLD."strangeness" IS NOT NEW."strangeness" OR OLD."thresholds" IS NOT NEW."thresholds" OR OLD."expected" IS NOT NEW."expected" OR OLD."engine" IS NOT NEW."engine" OR OLD."precision" IS NOT NEW."precision" OR OLD."after_record" IS NOT NEW."after_record" OR (coalesce(OLD."filed", '') != '' AND OLD."filed" IS NOT NEW."filed") BEGIN SELECT RAISE(ABORT, 'result is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_result_delete" BEFORE DELETE ON "result" BEGIN SELECT RAISE(ABORT, 'result is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_result_insert" BEFORE INSERT ON "result" WHEN EXISTS (SELECT 1 FROM "result" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'result is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_place_update" BEFORE UPDATE ON "place" WHEN OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."site_id" IS NOT NEW."site_id" OR OLD."landmarks" IS NOT NEW."landmarks" OR (coalesce(OLD."compared_at", '') != '' AND OLD."compared_at" IS NOT NEW."compared_at") BEGIN SELECT RAISE(ABORT, 'place is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_place_delete" BEFORE DELETE ON "place" BEGIN SELECT RAISE(ABORT, 'place is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_place_insert" BEFORE INSERT ON "place" WHEN EXISTS (SELECT 1 FROM "place" WHERE "micrograph_id" = NEW."micrograph_id") BEGIN SELECT RAISE(ABORT, 'place is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_source_update" BEFORE UPDATE ON "source" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."name" IS NOT NEW."name" BEGIN SELECT RAISE(ABORT, 'source is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_source_delete" BEFORE DELETE ON "source" BEGIN SELECT RAISE(ABORT, 'source is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_source_insert" BEFORE INSERT ON "source" WHEN EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'source is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_same_place_update" BEFORE UPDATE ON "same_place" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."other_id" IS NOT NEW."other_id" OR OLD."share" IS NOT NEW."share" OR OLD."area_px" IS NOT NEW."area_px" OR OLD."facts" IS NOT NEW."facts" OR OLD."found_at" IS NOT NEW."found_at" BEGIN SELECT RAISE(ABORT, 'same_place is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_same_place_delete" BEFORE DELETE ON "same_place" BEGIN SELECT RAISE(ABORT, 'same_place is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_same_place_insert" BEFORE INSERT ON "same_place" WHEN EXISTS (SELECT 1 FROM "same_place" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'same_place is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_order_claim_update" BEFORE UPDATE ON "order_claim" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."order_id" IS NOT NEW."order_id" OR OLD."specimen" IS NOT NEW."specimen" OR OLD."origin" IS NOT NEW."origin" OR OLD."file" IS NOT NEW."file" OR OLD."at" IS NOT NEW."at" OR (coalesce(OLD."settled_by", '') != '' AND OLD."settled_by" IS NOT NEW."settled_by") OR (coalesce(OLD."settled_reason", '') != '' AND OLD."settled_reason" IS NOT NEW."settled_reason") OR (coalesce(OLD."settled_at", '') != '' AND OLD."settled_at" IS NOT NEW."settled_at") BEGIN SELECT RAISE(ABORT, 'order_claim is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_order_claim_delete" BEFORE DELETE ON "order_claim" BEGIN SELECT RAISE(ABORT, 'order_claim is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_order_claim_insert" BEFORE INSERT ON "order_claim" WHEN EXISTS (SELECT 1 FROM "order_claim" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'order_claim is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_account_update" BEFORE UPDATE ON "account" WHEN OLD."name" IS NOT NEW."name" OR OLD."kind" IS NOT NEW."kind" OR OLD."created_at" IS NOT NEW."created_at" BEGIN SELECT RAISE(ABORT, 'account is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_account_delete" BEFORE DELETE ON "account" BEGIN SELECT RAISE(ABORT, 'account is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_account_insert" BEFORE INSERT ON "account" WHEN EXISTS (SELECT 1 FROM "account" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'account is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_login_update" BEFORE UPDATE ON "login" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."sha256" IS NOT NEW."sha256" OR OLD."account_id" IS NOT NEW."account_id" OR OLD."began_at" IS NOT NEW."began_at" OR (coalesce(OLD."ended_at", '') != '' AND OLD."ended_at" IS NOT NEW."ended_at") BEGIN SELECT RAISE(ABORT, 'login is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_login_delete" BEFORE DELETE ON "login" BEGIN SELECT RAISE(ABORT, 'login is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_login_insert" BEFORE INSERT ON "login" WHEN EXISTS (SELECT 1 FROM "login" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'login is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_update" BEFORE UPDATE ON "campaign" WHEN OLD."site_id" IS NOT NEW."site_id" OR OLD."name" IS NOT NEW."name" OR OLD."seed" IS NOT NEW."seed" OR OLD."by" IS NOT NEW."by" OR OLD."created_at" IS NOT NEW."created_at" BEGIN SELECT RAISE(ABORT, 'campaign is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_delete" BEFORE DELETE ON "campaign" BEGIN SELECT RAISE(ABORT, 'campaign is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_insert" BEFORE INSERT ON "campaign" WHEN EXISTS (SELECT 1 FROM "campaign" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'campaign is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_image_update" BEFORE UPDATE ON "campaign_image" WHEN OLD."campaign_id" IS NOT NEW."campaign_id" OR OLD."number" IS NOT NEW."number" OR OLD."micrograph_id" IS NOT NEW."micrograph_id" OR OLD."reference" IS NOT NEW."reference" BEGIN SELECT RAISE(ABORT, 'campaign_image is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_image_delete" BEFORE DELETE ON "campaign_image" BEGIN SELECT RAISE(ABORT, 'campaign_image is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_image_insert" BEFORE INSERT ON "campaign_image" WHEN EXISTS (SELECT 1 FROM "campaign_image" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'campaign_image is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_rater_update" BEFORE UPDATE ON "campaign_rater" WHEN OLD."campaign_id" IS NOT NEW."campaign_id" OR OLD."pseudonym" IS NOT NEW."pseudonym" OR OLD."name" IS NOT NEW."name" BEGIN SELECT RAISE(ABORT, 'campaign_rater is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_rater_delete" BEFORE DELETE ON "campaign_rater" BEGIN SELECT RAISE(ABORT, 'campaign_rater is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "guard_campaign_rater_insert" BEFORE INSERT ON "campaign_rater" WHEN EXISTS (SELECT 1 FROM "campaign_rater" WHERE "id" = NEW."id") BEGIN SELECT RAISE(ABORT, 'campaign_rater is evidence: it is neither changed nor deleted'); END;
CREATE TRIGGER "same_site_campaign_rater_insert" BEFORE INSERT ON "campaign_rater" BEGIN SELECT RAISE(ABORT, 'campaign_rater.campaign_id names a row of another site') WHERE NEW."campaign_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign" WHERE "id" = NEW."campaign_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_campaign_rater_update" BEFORE UPDATE OF "site_id", "campaign_id" ON "campaign_rater" BEGIN SELECT RAISE(ABORT, 'campaign_rater.campaign_id names a row of another site') WHERE NEW."campaign_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign" WHERE "id" = NEW."campaign_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_content_insert" BEFORE INSERT ON "content" BEGIN SELECT RAISE(ABORT, 'content.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'content.duplicate_of names a row of another site') WHERE NEW."duplicate_of" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."duplicate_of" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'content.previous_id names a row of another site') WHERE NEW."previous_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."previous_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'content.source_id names a row of another site') WHERE NEW."source_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."source_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_content_update" BEFORE UPDATE OF "site_id", "agent_id", "duplicate_of", "previous_id", "source_id" ON "content" BEGIN SELECT RAISE(ABORT, 'content.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'content.duplicate_of names a row of another site') WHERE NEW."duplicate_of" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."duplicate_of" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'content.previous_id names a row of another site') WHERE NEW."previous_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."previous_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'content.source_id names a row of another site') WHERE NEW."source_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."source_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_job_insert" BEFORE INSERT ON "job" BEGIN SELECT RAISE(ABORT, 'job.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_job_update" BEFORE UPDATE OF "site_id", "agent_id" ON "job" BEGIN SELECT RAISE(ABORT, 'job.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_rollout_host_insert" BEFORE INSERT ON "rollout_host" BEGIN SELECT RAISE(ABORT, 'rollout_host.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'rollout_host.rollout_id names a row of another site') WHERE NEW."rollout_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "rollout" WHERE "id" = NEW."rollout_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_rollout_host_update" BEFORE UPDATE OF "site_id", "agent_id", "rollout_id" ON "rollout_host" BEGIN SELECT RAISE(ABORT, 'rollout_host.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'rollout_host.rollout_id names a row of another site') WHERE NEW."rollout_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "rollout" WHERE "id" = NEW."rollout_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_specimen_insert" BEFORE INSERT ON "specimen" BEGIN SELECT RAISE(ABORT, 'specimen.order_id names a row of another site') WHERE NEW."order_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."order_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_specimen_update" BEFORE UPDATE OF "site_id", "order_id" ON "specimen" BEGIN SELECT RAISE(ABORT, 'specimen.order_id names a row of another site') WHERE NEW."order_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."order_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_statement_insert" BEFORE INSERT ON "statement" BEGIN SELECT RAISE(ABORT, 'statement.order_id names a row of another site') WHERE NEW."order_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."order_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_statement_update" BEFORE UPDATE OF "site_id", "order_id" ON "statement" BEGIN SELECT RAISE(ABORT, 'statement.order_id names a row of another site') WHERE NEW."order_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."order_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_path_insert" BEFORE INSERT ON "path" BEGIN SELECT RAISE(ABORT, 'path.content_id names a row of another site') WHERE NEW."content_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."content_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'path.source_id names a row of another site') WHERE NEW."source_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."source_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_path_update" BEFORE UPDATE OF "site_id", "content_id", "source_id" ON "path" BEGIN SELECT RAISE(ABORT, 'path.content_id names a row of another site') WHERE NEW."content_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."content_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'path.source_id names a row of another site') WHERE NEW."source_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."source_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_preparation_insert" BEFORE INSERT ON "preparation" BEGIN SELECT RAISE(ABORT, 'preparation.replaces names a row of another site') WHERE NEW."replaces" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "preparation" WHERE "id" = NEW."replaces" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'preparation.specimen_id names a row of another site') WHERE NEW."specimen_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "specimen" WHERE "id" = NEW."specimen_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_preparation_update" BEFORE UPDATE OF "site_id", "replaces", "specimen_id" ON "preparation" BEGIN SELECT RAISE(ABORT, 'preparation.replaces names a row of another site') WHERE NEW."replaces" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "preparation" WHERE "id" = NEW."replaces" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'preparation.specimen_id names a row of another site') WHERE NEW."specimen_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "specimen" WHERE "id" = NEW."specimen_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_statement_file_insert" BEFORE INSERT ON "statement_file" BEGIN SELECT RAISE(ABORT, 'statement_file.statement_id names a row of another site') WHERE NEW."statement_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "statement" WHERE "id" = NEW."statement_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_statement_file_update" BEFORE UPDATE OF "site_id", "statement_id" ON "statement_file" BEGIN SELECT RAISE(ABORT, 'statement_file.statement_id names a row of another site') WHERE NEW."statement_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "statement" WHERE "id" = NEW."statement_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_micrograph_insert" BEFORE INSERT ON "micrograph" BEGIN SELECT RAISE(ABORT, 'micrograph.content_id names a row of another site') WHERE NEW."content_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."content_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'micrograph.preparation_id names a row of another site') WHERE NEW."preparation_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "preparation" WHERE "id" = NEW."preparation_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'micrograph.source_id names a row of another site') WHERE NEW."source_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."source_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'micrograph.specimen_id names a row of another site') WHERE NEW."specimen_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "specimen" WHERE "id" = NEW."specimen_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_micrograph_update" BEFORE UPDATE OF "site_id", "content_id", "preparation_id", "source_id", "specimen_id" ON "micrograph" BEGIN SELECT RAISE(ABORT, 'micrograph.content_id names a row of another site') WHERE NEW."content_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "content" WHERE "id" = NEW."content_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'micrograph.preparation_id names a row of another site') WHERE NEW."preparation_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "preparation" WHERE "id" = NEW."preparation_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'micrograph.source_id names a row of another site') WHERE NEW."source_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "source" WHERE "id" = NEW."source_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'micrograph.specimen_id names a row of another site') WHERE NEW."specimen_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "specimen" WHERE "id" = NEW."specimen_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_campaign_image_insert" BEFORE INSERT ON "campaign_image" BEGIN SELECT RAISE(ABORT, 'campaign_image.campaign_id names a row of another site') WHERE NEW."campaign_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign" WHERE "id" = NEW."campaign_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'campaign_image.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_campaign_image_update" BEFORE UPDATE OF "site_id", "campaign_id", "micrograph_id" ON "campaign_image" BEGIN SELECT RAISE(ABORT, 'campaign_image.campaign_id names a row of another site') WHERE NEW."campaign_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign" WHERE "id" = NEW."campaign_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'campaign_image.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_needle_measurement_insert" BEFORE INSERT ON "needle_measurement" BEGIN SELECT RAISE(ABORT, 'needle_measurement.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_needle_measurement_update" BEFORE UPDATE OF "site_id", "micrograph_id" ON "needle_measurement" BEGIN SELECT RAISE(ABORT, 'needle_measurement.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_order_claim_insert" BEFORE INSERT ON "order_claim" BEGIN SELECT RAISE(ABORT, 'order_claim.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'order_claim.order_id names a row of another site') WHERE NEW."order_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."order_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_order_claim_update" BEFORE UPDATE OF "site_id", "micrograph_id", "order_id" ON "order_claim" BEGIN SELECT RAISE(ABORT, 'order_claim.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'order_claim.order_id names a row of another site') WHERE NEW."order_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "order" WHERE "id" = NEW."order_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_place_insert" BEFORE INSERT ON "place" BEGIN SELECT RAISE(ABORT, 'place.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_place_update" BEFORE UPDATE OF "site_id", "micrograph_id" ON "place" BEGIN SELECT RAISE(ABORT, 'place.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_result_insert" BEFORE INSERT ON "result" BEGIN SELECT RAISE(ABORT, 'result.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'result.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_result_update" BEFORE UPDATE OF "site_id", "agent_id", "micrograph_id" ON "result" BEGIN SELECT RAISE(ABORT, 'result.agent_id names a row of another site') WHERE NEW."agent_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "agent" WHERE "id" = NEW."agent_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'result.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_same_place_insert" BEFORE INSERT ON "same_place" BEGIN SELECT RAISE(ABORT, 'same_place.belongs_id names a row of another site') WHERE NEW."belongs_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."belongs_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'same_place.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'same_place.other_id names a row of another site') WHERE NEW."other_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."other_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_same_place_update" BEFORE UPDATE OF "site_id", "belongs_id", "micrograph_id", "other_id" ON "same_place" BEGIN SELECT RAISE(ABORT, 'same_place.belongs_id names a row of another site') WHERE NEW."belongs_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."belongs_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'same_place.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'same_place.other_id names a row of another site') WHERE NEW."other_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."other_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_search_entry_insert" BEFORE INSERT ON "search_entry" BEGIN SELECT RAISE(ABORT, 'search_entry.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_search_entry_update" BEFORE UPDATE OF "site_id", "micrograph_id" ON "search_entry" BEGIN SELECT RAISE(ABORT, 'search_entry.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_label_insert" BEFORE INSERT ON "label" BEGIN SELECT RAISE(ABORT, 'label.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'label.result_id names a row of another site') WHERE NEW."result_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "result" WHERE "id" = NEW."result_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'label.supersedes names a row of another site') WHERE NEW."supersedes" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "label" WHERE "id" = NEW."supersedes" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_label_update" BEFORE UPDATE OF "site_id", "micrograph_id", "result_id", "supersedes" ON "label" BEGIN SELECT RAISE(ABORT, 'label.micrograph_id names a row of another site') WHERE NEW."micrograph_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "micrograph" WHERE "id" = NEW."micrograph_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'label.result_id names a row of another site') WHERE NEW."result_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "result" WHERE "id" = NEW."result_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'label.supersedes names a row of another site') WHERE NEW."supersedes" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "label" WHERE "id" = NEW."supersedes" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_needle_field_insert" BEFORE INSERT ON "needle_field" BEGIN SELECT RAISE(ABORT, 'needle_field.result_id names a row of another site') WHERE NEW."result_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "result" WHERE "id" = NEW."result_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_needle_field_update" BEFORE UPDATE OF "site_id", "result_id" ON "needle_field" BEGIN SELECT RAISE(ABORT, 'needle_field.result_id names a row of another site') WHERE NEW."result_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "result" WHERE "id" = NEW."result_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_rating_insert" BEFORE INSERT ON "rating" BEGIN SELECT RAISE(ABORT, 'rating.image_id names a row of another site') WHERE NEW."image_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign_image" WHERE "id" = NEW."image_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'rating.rater_id names a row of another site') WHERE NEW."rater_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign_rater" WHERE "id" = NEW."rater_id" AND site_id = NEW.site_id); END;
CREATE TRIGGER "same_site_rating_update" BEFORE UPDATE OF "site_id", "image_id", "rater_id" ON "rating" BEGIN SELECT RAISE(ABORT, 'rating.image_id names a row of another site') WHERE NEW."image_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign_image" WHERE "id" = NEW."image_id" AND site_id = NEW.site_id); SELECT RAISE(ABORT, 'rating.rater_id names a row of another site') WHERE NEW."rater_id" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "campaign_rater" WHERE "id" = NEW."rater_id" AND site_id = NEW.site_id); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('content',5);
INSERT INTO "sqlite_sequence" VALUES('trail',14);
COMMIT;
