BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE checkpoint (
	run TEXT NOT NULL, 
	name TEXT NOT NULL, 
	session INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	digest TEXT NOT NULL, 
	parent TEXT, 
	cursor JSON NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	manifest TEXT NOT NULL, 
	status TEXT NOT NULL, 
	verified_at DATETIME NOT NULL, 
	published_at DATETIME, 
	PRIMARY KEY (run, name), 
	FOREIGN KEY(run, session, attempt) REFERENCES session (run, number, attempt)
);
INSERT INTO "checkpoint" VALUES('sim-0001','sim-0001-c0001',1,1,'7f52dfb72c62d5c47c56c28f58662562a88e2b00352d99920accaab4c36f7fd2',NULL,'{"stage": "one", "step": 84}',1281,'{"attempt":1,"cursor":{"stage":"one","step":84},"digests":{"state":"d231df280eee128e743cf49c0d6b565a7e1a11f57cfb29266f305fb6181e0bb4"},"document":"manifest","files":[{"path":"state.bin","sha256":"2bf7e4fed7b2b0b21029d452fd36f3c3b1e73886fc3d09b35b7ecdcad786b1e1","size_bytes":1281}],"format":1,"parent":null,"run":"sim-0001","session":1,"token":"8f0057f9ec1d63026dd00cef"}','published','2030-01-07 00:16:40.000000','2030-01-07 00:18:45.000000');
INSERT INTO "checkpoint" VALUES('sim-0001','sim-0001-c0002',2,1,'f1acdaf5728d7e5234fa058dedee1c7a8432c727019e3b22bc8abd6418c92e4e','7f52dfb72c62d5c47c56c28f58662562a88e2b00352d99920accaab4c36f7fd2','{"stage": "two", "step": 68}',1381,'{"attempt":1,"cursor":{"stage":"two","step":68},"digests":{"state":"7f07469d7aad068fd9ed4f3a10c8b692eb9631639adfd47d43c5b23abb9a829f"},"document":"manifest","files":[{"path":"state.bin","sha256":"f8661de0fa0355a6f9342577a2c54dc38d41e5d513eb05b0cb1f721ac64a12bb","size_bytes":1381}],"format":1,"parent":"7f52dfb72c62d5c47c56c28f58662562a88e2b00352d99920accaab4c36f7fd2","run":"sim-0001","session":2,"token":"6d35bf87a4d51a7ebaeccb59"}','published','2030-01-07 00:35:25.000000','2030-01-07 00:37:30.000000');
INSERT INTO "checkpoint" VALUES('sim-0001','sim-0001-c0003',3,1,'9a3a574431f69d17fc539636baf4bbeb4c8ed55bf02ac283ec1bef76eabdc859','f1acdaf5728d7e5234fa058dedee1c7a8432c727019e3b22bc8abd6418c92e4e','{"stage": "two", "step": 120}',1449,'{"attempt":1,"cursor":{"stage":"two","step":120},"digests":{"state":"b178c4a15394a682df0a2d207520e9381050b9f8fcb755d040bb7dda57cebb37"},"document":"manifest","files":[{"path":"state.bin","sha256":"9a8d23470a73169519b141d698b6b0b39b6642a318bd998fdc08e2252dd10623","size_bytes":1449}],"format":1,"parent":"f1acdaf5728d7e5234fa058dedee1c7a8432c727019e3b22bc8abd6418c92e4e","run":"sim-0001","session":3,"token":"4ea0a056115f55061c7a0a9e"}','published','2030-01-07 00:50:00.000000','2030-01-07 00:52:05.000000');
INSERT INTO "checkpoint" VALUES('sim-0002','sim-0002-c0001',1,1,'2efeb1a4cc4c28ee885c81a0d6fdfe76857558528955771d5fbfaeaf9f2b177c',NULL,'{"stage": "one", "step": 84}',1281,'{"attempt":1,"cursor":{"stage":"one","step":84},"digests":{"state":"d231df280eee128e743cf49c0d6b565a7e1a11f57cfb29266f305fb6181e0bb4"},"document":"manifest","files":[{"path":"state.bin","sha256":"2bf7e4fed7b2b0b21029d452fd36f3c3b1e73886fc3d09b35b7ecdcad786b1e1","size_bytes":1281}],"format":1,"parent":null,"run":"sim-0002","session":1,"token":"a7ad065029d95e62546a64b8"}','published','2030-01-07 00:16:40.000000','2030-01-07 00:18:45.000000');
INSERT INTO "checkpoint" VALUES('sim-0003','sim-0003-c0001',1,1,'61fb0ddc035cb335f1938e7f2d295398ce023e8597254976b5da1b9f1d29ea4c',NULL,'{"stage": "one", "step": 84}',1281,'{"attempt":1,"cursor":{"stage":"one","step":84},"digests":{"state":"d231df280eee128e743cf49c0d6b565a7e1a11f57cfb29266f305fb6181e0bb4"},"document":"manifest","files":[{"path":"state.bin","sha256":"2bf7e4fed7b2b0b21029d452fd36f3c3b1e73886fc3d09b35b7ecdcad786b1e1","size_bytes":1281}],"format":1,"parent":null,"run":"sim-0003","session":1,"token":"5a6f7a610242a095690878f8"}','published','2030-01-07 00:16:40.000000','2030-01-07 00:18:45.000000');
CREATE TABLE fact (
	id INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	name TEXT NOT NULL, 
	data JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "fact" VALUES(1,'sim-0001','2030-01-07 00:00:00.000000','run_started','{"run": "sim-0001", "pipeline_name": "sim", "owner": "me", "accelerator": "tpu", "pipeline": "{\"accelerator\":\"TpuV5E8\",\"account\":{\"hours_per_week\":null,\"slots\":null},\"environment\":null,\"handoff\":\"dataset\",\"inputs\":{\"datasets\":[],\"files\":[],\"models\":[],\"sha256\":{}},\"internet\":true,\"keep\":3,\"model\":{},\"name\":\"sim\",\"on_timeout\":\"resume\",\"seed\":0,\"session\":{\"attempts\":3,\"limit_s\":1000.0,\"margin_s\":100.0,\"save_interval_s\":200.0,\"worth_s\":null},\"sources\":{},\"stages\":[{\"kind\":\"counting\",\"name\":\"one\",\"options\":{},\"steps\":100},{\"kind\":\"counting\",\"name\":\"two\",\"options\":{},\"steps\":120}]}", "pipeline_path": "sim.yaml", "pipeline_digest": "2bae9862940a344a279bef7cf2472c7e5c948b491210d4773ee21549c6bb70f5"}');
INSERT INTO "fact" VALUES(2,'sim-0002','2030-01-07 00:00:00.000000','run_started','{"run": "sim-0002", "pipeline_name": "sim", "owner": "me", "accelerator": "tpu", "pipeline": "{\"accelerator\":\"TpuV5E8\",\"account\":{\"hours_per_week\":null,\"slots\":null},\"environment\":null,\"handoff\":\"dataset\",\"inputs\":{\"datasets\":[],\"files\":[],\"models\":[],\"sha256\":{}},\"internet\":true,\"keep\":3,\"model\":{},\"name\":\"sim\",\"on_timeout\":\"resume\",\"seed\":0,\"session\":{\"attempts\":3,\"limit_s\":1000.0,\"margin_s\":100.0,\"save_interval_s\":200.0,\"worth_s\":null},\"sources\":{},\"stages\":[{\"kind\":\"counting\",\"name\":\"one\",\"options\":{},\"steps\":100},{\"kind\":\"counting\",\"name\":\"two\",\"options\":{},\"steps\":120}]}", "pipeline_path": "sim.yaml", "pipeline_digest": "2bae9862940a344a279bef7cf2472c7e5c948b491210d4773ee21549c6bb70f5"}');
INSERT INTO "fact" VALUES(3,'sim-0003','2030-01-07 00:00:00.000000','run_started','{"run": "sim-0003", "pipeline_name": "sim", "owner": "me", "accelerator": "tpu", "pipeline": "{\"accelerator\":\"TpuV5E8\",\"account\":{\"hours_per_week\":null,\"slots\":null},\"environment\":null,\"handoff\":\"dataset\",\"inputs\":{\"datasets\":[],\"files\":[],\"models\":[],\"sha256\":{}},\"internet\":true,\"keep\":3,\"model\":{},\"name\":\"sim\",\"on_timeout\":\"resume\",\"seed\":0,\"session\":{\"attempts\":3,\"limit_s\":1000.0,\"margin_s\":100.0,\"save_interval_s\":200.0,\"worth_s\":null},\"sources\":{},\"stages\":[{\"kind\":\"counting\",\"name\":\"one\",\"options\":{},\"steps\":100},{\"kind\":\"counting\",\"name\":\"two\",\"options\":{},\"steps\":120}]}", "pipeline_path": "sim.yaml", "pipeline_digest": "2bae9862940a344a279bef7cf2472c7e5c948b491210d4773ee21549c6bb70f5"}');
INSERT INTO "fact" VALUES(4,'sim-0001','2030-01-07 00:00:00.000000','session_planned','{"number": 1, "attempt": 1, "slug": "sim-0001-s0001", "token": "8f0057f9ec1d63026dd00cef", "start": {"stage": "one", "step": 0}, "parent": null, "budget_s": 900.0, "limit_s": 1000.0}');
INSERT INTO "fact" VALUES(5,'sim-0001','2030-01-07 00:00:00.000000','push_intended','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(6,'sim-0001','2030-01-07 00:00:00.000000','push_confirmed','{"number": 1, "attempt": 1, "kernel_version": 1, "adopted": false}');
INSERT INTO "fact" VALUES(7,'sim-0001','2030-01-07 00:00:00.000000','seen_queued','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(8,'sim-0001','2030-01-07 00:02:05.000000','seen_running','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(9,'sim-0001','2030-01-07 00:16:40.000000','seen_ended','{"number": 1, "attempt": 1, "worker": "complete", "message": ""}');
INSERT INTO "fact" VALUES(10,'sim-0001','2030-01-07 00:16:40.000000','output_collected','{"number": 1, "attempt": 1, "judgement": {"outcome": "yielded", "cause": "", "reason": "", "transient": false, "furthest": {"stage": "one", "step": 84}, "steps_lost": 0, "excerpt": ""}, "checkpoint": "sim-0001-c0001", "manifest": {"format": 1, "document": "manifest", "run": "sim-0001", "session": 1, "attempt": 1, "token": "8f0057f9ec1d63026dd00cef", "cursor": {"stage": "one", "step": 84}, "parent": null, "files": [{"path": "state.bin", "size_bytes": 1281, "sha256": "2bf7e4fed7b2b0b21029d452fd36f3c3b1e73886fc3d09b35b7ecdcad786b1e1"}], "digests": {"state": "d231df280eee128e743cf49c0d6b565a7e1a11f57cfb29266f305fb6181e0bb4"}}}');
INSERT INTO "fact" VALUES(11,'sim-0001','2030-01-07 00:16:40.000000','publish_intended','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(12,'sim-0001','2030-01-07 00:18:45.000000','checkpoint_published','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(13,'sim-0001','2030-01-07 00:18:45.000000','session_planned','{"number": 2, "attempt": 1, "slug": "sim-0001-s0002", "token": "6d35bf87a4d51a7ebaeccb59", "start": {"stage": "one", "step": 84}, "parent": "sim-0001-c0001", "budget_s": 900.0, "limit_s": 1000.0}');
INSERT INTO "fact" VALUES(14,'sim-0001','2030-01-07 00:18:45.000000','push_intended','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(15,'sim-0001','2030-01-07 00:18:45.000000','push_confirmed','{"number": 2, "attempt": 1, "kernel_version": 1, "adopted": false}');
INSERT INTO "fact" VALUES(16,'sim-0001','2030-01-07 00:18:45.000000','seen_queued','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(17,'sim-0001','2030-01-07 00:20:50.000000','seen_running','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(18,'sim-0001','2030-01-07 00:35:25.000000','seen_ended','{"number": 2, "attempt": 1, "worker": "complete", "message": ""}');
INSERT INTO "fact" VALUES(19,'sim-0001','2030-01-07 00:35:25.000000','output_collected','{"number": 2, "attempt": 1, "judgement": {"outcome": "yielded", "cause": "", "reason": "", "transient": false, "furthest": {"stage": "two", "step": 68}, "steps_lost": 0, "excerpt": ""}, "checkpoint": "sim-0001-c0002", "manifest": {"format": 1, "document": "manifest", "run": "sim-0001", "session": 2, "attempt": 1, "token": "6d35bf87a4d51a7ebaeccb59", "cursor": {"stage": "two", "step": 68}, "parent": "7f52dfb72c62d5c47c56c28f58662562a88e2b00352d99920accaab4c36f7fd2", "files": [{"path": "state.bin", "size_bytes": 1381, "sha256": "f8661de0fa0355a6f9342577a2c54dc38d41e5d513eb05b0cb1f721ac64a12bb"}], "digests": {"state": "7f07469d7aad068fd9ed4f3a10c8b692eb9631639adfd47d43c5b23abb9a829f"}}}');
INSERT INTO "fact" VALUES(20,'sim-0001','2030-01-07 00:35:25.000000','publish_intended','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(21,'sim-0001','2030-01-07 00:37:30.000000','checkpoint_published','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(22,'sim-0001','2030-01-07 00:37:30.000000','session_planned','{"number": 3, "attempt": 1, "slug": "sim-0001-s0003", "token": "4ea0a056115f55061c7a0a9e", "start": {"stage": "two", "step": 68}, "parent": "sim-0001-c0002", "budget_s": 900.0, "limit_s": 1000.0}');
INSERT INTO "fact" VALUES(23,'sim-0001','2030-01-07 00:37:30.000000','push_intended','{"number": 3, "attempt": 1}');
INSERT INTO "fact" VALUES(24,'sim-0001','2030-01-07 00:37:30.000000','push_confirmed','{"number": 3, "attempt": 1, "kernel_version": 1, "adopted": false}');
INSERT INTO "fact" VALUES(25,'sim-0001','2030-01-07 00:37:30.000000','seen_queued','{"number": 3, "attempt": 1}');
INSERT INTO "fact" VALUES(26,'sim-0001','2030-01-07 00:39:35.000000','seen_running','{"number": 3, "attempt": 1}');
INSERT INTO "fact" VALUES(27,'sim-0001','2030-01-07 00:50:00.000000','seen_ended','{"number": 3, "attempt": 1, "worker": "complete", "message": ""}');
INSERT INTO "fact" VALUES(28,'sim-0001','2030-01-07 00:50:00.000000','output_collected','{"number": 3, "attempt": 1, "judgement": {"outcome": "finished", "cause": "", "reason": "", "transient": false, "furthest": {"stage": "two", "step": 120}, "steps_lost": 0, "excerpt": ""}, "checkpoint": "sim-0001-c0003", "manifest": {"format": 1, "document": "manifest", "run": "sim-0001", "session": 3, "attempt": 1, "token": "4ea0a056115f55061c7a0a9e", "cursor": {"stage": "two", "step": 120}, "parent": "f1acdaf5728d7e5234fa058dedee1c7a8432c727019e3b22bc8abd6418c92e4e", "files": [{"path": "state.bin", "size_bytes": 1449, "sha256": "9a8d23470a73169519b141d698b6b0b39b6642a318bd998fdc08e2252dd10623"}], "digests": {"state": "b178c4a15394a682df0a2d207520e9381050b9f8fcb755d040bb7dda57cebb37"}}}');
INSERT INTO "fact" VALUES(29,'sim-0001','2030-01-07 00:50:00.000000','publish_intended','{"number": 3, "attempt": 1}');
INSERT INTO "fact" VALUES(30,'sim-0001','2030-01-07 00:52:05.000000','checkpoint_published','{"number": 3, "attempt": 1}');
INSERT INTO "fact" VALUES(31,'sim-0001','2030-01-07 00:52:05.000000','run_finished','{}');
INSERT INTO "fact" VALUES(32,'sim-0002','2030-01-07 00:00:00.000000','session_planned','{"number": 1, "attempt": 1, "slug": "sim-0002-s0001", "token": "a7ad065029d95e62546a64b8", "start": {"stage": "one", "step": 0}, "parent": null, "budget_s": 900.0, "limit_s": 1000.0}');
INSERT INTO "fact" VALUES(33,'sim-0002','2030-01-07 00:00:00.000000','push_intended','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(34,'sim-0002','2030-01-07 00:00:00.000000','push_confirmed','{"number": 1, "attempt": 1, "kernel_version": 1, "adopted": false}');
INSERT INTO "fact" VALUES(35,'sim-0002','2030-01-07 00:00:00.000000','seen_queued','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(36,'sim-0002','2030-01-07 00:02:05.000000','seen_running','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(37,'sim-0002','2030-01-07 00:16:40.000000','seen_ended','{"number": 1, "attempt": 1, "worker": "complete", "message": ""}');
INSERT INTO "fact" VALUES(38,'sim-0002','2030-01-07 00:16:40.000000','output_collected','{"number": 1, "attempt": 1, "judgement": {"outcome": "yielded", "cause": "", "reason": "", "transient": false, "furthest": {"stage": "one", "step": 84}, "steps_lost": 0, "excerpt": ""}, "checkpoint": "sim-0002-c0001", "manifest": {"format": 1, "document": "manifest", "run": "sim-0002", "session": 1, "attempt": 1, "token": "a7ad065029d95e62546a64b8", "cursor": {"stage": "one", "step": 84}, "parent": null, "files": [{"path": "state.bin", "size_bytes": 1281, "sha256": "2bf7e4fed7b2b0b21029d452fd36f3c3b1e73886fc3d09b35b7ecdcad786b1e1"}], "digests": {"state": "d231df280eee128e743cf49c0d6b565a7e1a11f57cfb29266f305fb6181e0bb4"}}}');
INSERT INTO "fact" VALUES(39,'sim-0002','2030-01-07 00:16:40.000000','publish_intended','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(40,'sim-0002','2030-01-07 00:18:45.000000','checkpoint_published','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(41,'sim-0002','2030-01-07 00:18:45.000000','run_parked','{"reason": "paused by you", "remedy": "relay resume sim-0002", "excerpt": ""}');
INSERT INTO "fact" VALUES(42,'sim-0003','2030-01-07 00:00:00.000000','session_planned','{"number": 1, "attempt": 1, "slug": "sim-0003-s0001", "token": "5a6f7a610242a095690878f8", "start": {"stage": "one", "step": 0}, "parent": null, "budget_s": 900.0, "limit_s": 1000.0}');
INSERT INTO "fact" VALUES(43,'sim-0003','2030-01-07 00:00:00.000000','push_intended','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(44,'sim-0003','2030-01-07 00:00:00.000000','push_confirmed','{"number": 1, "attempt": 1, "kernel_version": 1, "adopted": false}');
INSERT INTO "fact" VALUES(45,'sim-0003','2030-01-07 00:00:00.000000','seen_queued','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(46,'sim-0003','2030-01-07 00:02:05.000000','seen_running','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(47,'sim-0003','2030-01-07 00:16:40.000000','seen_ended','{"number": 1, "attempt": 1, "worker": "complete", "message": ""}');
INSERT INTO "fact" VALUES(48,'sim-0003','2030-01-07 00:16:40.000000','output_collected','{"number": 1, "attempt": 1, "judgement": {"outcome": "yielded", "cause": "", "reason": "", "transient": false, "furthest": {"stage": "one", "step": 84}, "steps_lost": 0, "excerpt": ""}, "checkpoint": "sim-0003-c0001", "manifest": {"format": 1, "document": "manifest", "run": "sim-0003", "session": 1, "attempt": 1, "token": "5a6f7a610242a095690878f8", "cursor": {"stage": "one", "step": 84}, "parent": null, "files": [{"path": "state.bin", "size_bytes": 1281, "sha256": "2bf7e4fed7b2b0b21029d452fd36f3c3b1e73886fc3d09b35b7ecdcad786b1e1"}], "digests": {"state": "d231df280eee128e743cf49c0d6b565a7e1a11f57cfb29266f305fb6181e0bb4"}}}');
INSERT INTO "fact" VALUES(49,'sim-0003','2030-01-07 00:16:40.000000','publish_intended','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(50,'sim-0003','2030-01-07 00:18:45.000000','checkpoint_published','{"number": 1, "attempt": 1}');
INSERT INTO "fact" VALUES(51,'sim-0003','2030-01-07 00:18:45.000000','session_planned','{"number": 2, "attempt": 1, "slug": "sim-0003-s0002", "token": "52d8d9eec5075152090f75e3", "start": {"stage": "one", "step": 84}, "parent": "sim-0003-c0001", "budget_s": 900.0, "limit_s": 1000.0}');
INSERT INTO "fact" VALUES(52,'sim-0003','2030-01-07 00:18:45.000000','push_intended','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(53,'sim-0003','2030-01-07 00:18:45.000000','push_confirmed','{"number": 2, "attempt": 1, "kernel_version": 1, "adopted": false}');
INSERT INTO "fact" VALUES(54,'sim-0003','2030-01-07 00:18:45.000000','seen_queued','{"number": 2, "attempt": 1}');
INSERT INTO "fact" VALUES(55,'sim-0003','2030-01-07 00:20:50.000000','seen_running','{"number": 2, "attempt": 1}');
CREATE TABLE lease (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	fence INTEGER NOT NULL, 
	expires_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "lease" VALUES('daemon','daemon-1',4,'2030-01-07 01:00:00.000000');
CREATE TABLE metric (
	run TEXT NOT NULL, 
	session INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	stage TEXT NOT NULL, 
	step INTEGER NOT NULL, 
	value FLOAT NOT NULL, 
	at_s FLOAT NOT NULL, 
	PRIMARY KEY (run, session, attempt, number, name), 
	FOREIGN KEY(run) REFERENCES run (id)
);
INSERT INTO "metric" VALUES('sim-0001',1,1,0,'done','one',1,1.0,40.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,1,'done','one',2,2.0,50.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,2,'done','one',3,3.0,60.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,3,'done','one',4,4.0,70.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,4,'done','one',5,5.0,80.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,5,'done','one',6,6.0,90.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,6,'done','one',7,7.0,100.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,7,'done','one',8,8.0,110.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,8,'done','one',9,9.0,120.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,9,'done','one',10,10.0,130.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,10,'done','one',11,11.0,140.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,11,'done','one',12,12.0,150.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,12,'done','one',13,13.0,160.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,13,'done','one',14,14.0,170.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,14,'done','one',15,15.0,180.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,15,'done','one',16,16.0,190.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,16,'done','one',17,17.0,200.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,17,'done','one',18,18.0,210.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,18,'done','one',19,19.0,220.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,19,'done','one',20,20.0,230.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,20,'done','one',21,21.0,240.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,21,'done','one',22,22.0,250.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,22,'done','one',23,23.0,260.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,23,'done','one',24,24.0,270.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,24,'done','one',25,25.0,280.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,25,'done','one',26,26.0,290.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,26,'done','one',27,27.0,300.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,27,'done','one',28,28.0,310.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,28,'done','one',29,29.0,320.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,29,'done','one',30,30.0,330.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,30,'done','one',31,31.0,340.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,31,'done','one',32,32.0,350.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,32,'done','one',33,33.0,360.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,33,'done','one',34,34.0,370.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,34,'done','one',35,35.0,380.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,35,'done','one',36,36.0,390.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,36,'done','one',37,37.0,400.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,37,'done','one',38,38.0,410.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,38,'done','one',39,39.0,420.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,39,'done','one',40,40.0,430.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,40,'done','one',41,41.0,440.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,41,'done','one',42,42.0,450.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,42,'done','one',43,43.0,460.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,43,'done','one',44,44.0,470.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,44,'done','one',45,45.0,480.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,45,'done','one',46,46.0,490.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,46,'done','one',47,47.0,500.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,47,'done','one',48,48.0,510.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,48,'done','one',49,49.0,520.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,49,'done','one',50,50.0,530.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,50,'done','one',51,51.0,540.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,51,'done','one',52,52.0,550.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,52,'done','one',53,53.0,560.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,53,'done','one',54,54.0,570.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,54,'done','one',55,55.0,580.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,55,'done','one',56,56.0,590.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,56,'done','one',57,57.0,600.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,57,'done','one',58,58.0,610.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,58,'done','one',59,59.0,620.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,59,'done','one',60,60.0,630.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,60,'done','one',61,61.0,640.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,61,'done','one',62,62.0,650.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,62,'done','one',63,63.0,660.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,63,'done','one',64,64.0,670.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,64,'done','one',65,65.0,680.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,65,'done','one',66,66.0,690.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,66,'done','one',67,67.0,700.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,67,'done','one',68,68.0,710.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,68,'done','one',69,69.0,720.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,69,'done','one',70,70.0,730.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,70,'done','one',71,71.0,740.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,71,'done','one',72,72.0,750.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,72,'done','one',73,73.0,760.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,73,'done','one',74,74.0,770.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,74,'done','one',75,75.0,780.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,75,'done','one',76,76.0,790.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,76,'done','one',77,77.0,800.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,77,'done','one',78,78.0,810.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,78,'done','one',79,79.0,820.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,79,'done','one',80,80.0,830.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,80,'done','one',81,81.0,840.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,81,'done','one',82,82.0,850.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,82,'done','one',83,83.0,860.0);
INSERT INTO "metric" VALUES('sim-0001',1,1,83,'done','one',84,84.0,870.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,0,'done','one',85,85.0,40.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,1,'done','one',86,86.0,50.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,2,'done','one',87,87.0,60.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,3,'done','one',88,88.0,70.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,4,'done','one',89,89.0,80.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,5,'done','one',90,90.0,90.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,6,'done','one',91,91.0,100.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,7,'done','one',92,92.0,110.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,8,'done','one',93,93.0,120.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,9,'done','one',94,94.0,130.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,10,'done','one',95,95.0,140.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,11,'done','one',96,96.0,150.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,12,'done','one',97,97.0,160.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,13,'done','one',98,98.0,170.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,14,'done','one',99,99.0,180.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,15,'done','one',100,100.0,190.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,16,'done','two',1,1.0,200.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,17,'done','two',2,2.0,210.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,18,'done','two',3,3.0,220.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,19,'done','two',4,4.0,230.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,20,'done','two',5,5.0,240.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,21,'done','two',6,6.0,250.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,22,'done','two',7,7.0,260.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,23,'done','two',8,8.0,270.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,24,'done','two',9,9.0,280.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,25,'done','two',10,10.0,290.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,26,'done','two',11,11.0,300.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,27,'done','two',12,12.0,310.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,28,'done','two',13,13.0,320.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,29,'done','two',14,14.0,330.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,30,'done','two',15,15.0,340.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,31,'done','two',16,16.0,350.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,32,'done','two',17,17.0,360.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,33,'done','two',18,18.0,370.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,34,'done','two',19,19.0,380.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,35,'done','two',20,20.0,390.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,36,'done','two',21,21.0,400.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,37,'done','two',22,22.0,410.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,38,'done','two',23,23.0,420.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,39,'done','two',24,24.0,430.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,40,'done','two',25,25.0,440.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,41,'done','two',26,26.0,450.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,42,'done','two',27,27.0,460.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,43,'done','two',28,28.0,470.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,44,'done','two',29,29.0,480.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,45,'done','two',30,30.0,490.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,46,'done','two',31,31.0,500.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,47,'done','two',32,32.0,510.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,48,'done','two',33,33.0,520.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,49,'done','two',34,34.0,530.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,50,'done','two',35,35.0,540.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,51,'done','two',36,36.0,550.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,52,'done','two',37,37.0,560.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,53,'done','two',38,38.0,570.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,54,'done','two',39,39.0,580.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,55,'done','two',40,40.0,590.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,56,'done','two',41,41.0,600.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,57,'done','two',42,42.0,610.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,58,'done','two',43,43.0,620.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,59,'done','two',44,44.0,630.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,60,'done','two',45,45.0,640.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,61,'done','two',46,46.0,650.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,62,'done','two',47,47.0,660.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,63,'done','two',48,48.0,670.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,64,'done','two',49,49.0,680.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,65,'done','two',50,50.0,690.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,66,'done','two',51,51.0,700.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,67,'done','two',52,52.0,710.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,68,'done','two',53,53.0,720.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,69,'done','two',54,54.0,730.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,70,'done','two',55,55.0,740.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,71,'done','two',56,56.0,750.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,72,'done','two',57,57.0,760.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,73,'done','two',58,58.0,770.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,74,'done','two',59,59.0,780.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,75,'done','two',60,60.0,790.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,76,'done','two',61,61.0,800.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,77,'done','two',62,62.0,810.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,78,'done','two',63,63.0,820.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,79,'done','two',64,64.0,830.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,80,'done','two',65,65.0,840.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,81,'done','two',66,66.0,850.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,82,'done','two',67,67.0,860.0);
INSERT INTO "metric" VALUES('sim-0001',2,1,83,'done','two',68,68.0,870.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,0,'done','two',69,69.0,40.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,1,'done','two',70,70.0,50.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,2,'done','two',71,71.0,60.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,3,'done','two',72,72.0,70.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,4,'done','two',73,73.0,80.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,5,'done','two',74,74.0,90.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,6,'done','two',75,75.0,100.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,7,'done','two',76,76.0,110.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,8,'done','two',77,77.0,120.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,9,'done','two',78,78.0,130.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,10,'done','two',79,79.0,140.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,11,'done','two',80,80.0,150.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,12,'done','two',81,81.0,160.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,13,'done','two',82,82.0,170.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,14,'done','two',83,83.0,180.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,15,'done','two',84,84.0,190.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,16,'done','two',85,85.0,200.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,17,'done','two',86,86.0,210.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,18,'done','two',87,87.0,220.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,19,'done','two',88,88.0,230.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,20,'done','two',89,89.0,240.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,21,'done','two',90,90.0,250.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,22,'done','two',91,91.0,260.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,23,'done','two',92,92.0,270.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,24,'done','two',93,93.0,280.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,25,'done','two',94,94.0,290.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,26,'done','two',95,95.0,300.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,27,'done','two',96,96.0,310.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,28,'done','two',97,97.0,320.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,29,'done','two',98,98.0,330.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,30,'done','two',99,99.0,340.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,31,'done','two',100,100.0,350.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,32,'done','two',101,101.0,360.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,33,'done','two',102,102.0,370.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,34,'done','two',103,103.0,380.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,35,'done','two',104,104.0,390.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,36,'done','two',105,105.0,400.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,37,'done','two',106,106.0,410.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,38,'done','two',107,107.0,420.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,39,'done','two',108,108.0,430.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,40,'done','two',109,109.0,440.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,41,'done','two',110,110.0,450.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,42,'done','two',111,111.0,460.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,43,'done','two',112,112.0,470.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,44,'done','two',113,113.0,480.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,45,'done','two',114,114.0,490.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,46,'done','two',115,115.0,500.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,47,'done','two',116,116.0,510.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,48,'done','two',117,117.0,520.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,49,'done','two',118,118.0,530.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,50,'done','two',119,119.0,540.0);
INSERT INTO "metric" VALUES('sim-0001',3,1,51,'done','two',120,120.0,550.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,0,'done','one',1,1.0,40.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,1,'done','one',2,2.0,50.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,2,'done','one',3,3.0,60.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,3,'done','one',4,4.0,70.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,4,'done','one',5,5.0,80.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,5,'done','one',6,6.0,90.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,6,'done','one',7,7.0,100.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,7,'done','one',8,8.0,110.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,8,'done','one',9,9.0,120.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,9,'done','one',10,10.0,130.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,10,'done','one',11,11.0,140.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,11,'done','one',12,12.0,150.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,12,'done','one',13,13.0,160.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,13,'done','one',14,14.0,170.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,14,'done','one',15,15.0,180.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,15,'done','one',16,16.0,190.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,16,'done','one',17,17.0,200.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,17,'done','one',18,18.0,210.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,18,'done','one',19,19.0,220.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,19,'done','one',20,20.0,230.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,20,'done','one',21,21.0,240.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,21,'done','one',22,22.0,250.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,22,'done','one',23,23.0,260.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,23,'done','one',24,24.0,270.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,24,'done','one',25,25.0,280.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,25,'done','one',26,26.0,290.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,26,'done','one',27,27.0,300.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,27,'done','one',28,28.0,310.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,28,'done','one',29,29.0,320.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,29,'done','one',30,30.0,330.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,30,'done','one',31,31.0,340.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,31,'done','one',32,32.0,350.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,32,'done','one',33,33.0,360.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,33,'done','one',34,34.0,370.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,34,'done','one',35,35.0,380.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,35,'done','one',36,36.0,390.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,36,'done','one',37,37.0,400.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,37,'done','one',38,38.0,410.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,38,'done','one',39,39.0,420.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,39,'done','one',40,40.0,430.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,40,'done','one',41,41.0,440.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,41,'done','one',42,42.0,450.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,42,'done','one',43,43.0,460.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,43,'done','one',44,44.0,470.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,44,'done','one',45,45.0,480.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,45,'done','one',46,46.0,490.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,46,'done','one',47,47.0,500.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,47,'done','one',48,48.0,510.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,48,'done','one',49,49.0,520.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,49,'done','one',50,50.0,530.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,50,'done','one',51,51.0,540.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,51,'done','one',52,52.0,550.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,52,'done','one',53,53.0,560.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,53,'done','one',54,54.0,570.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,54,'done','one',55,55.0,580.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,55,'done','one',56,56.0,590.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,56,'done','one',57,57.0,600.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,57,'done','one',58,58.0,610.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,58,'done','one',59,59.0,620.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,59,'done','one',60,60.0,630.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,60,'done','one',61,61.0,640.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,61,'done','one',62,62.0,650.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,62,'done','one',63,63.0,660.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,63,'done','one',64,64.0,670.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,64,'done','one',65,65.0,680.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,65,'done','one',66,66.0,690.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,66,'done','one',67,67.0,700.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,67,'done','one',68,68.0,710.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,68,'done','one',69,69.0,720.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,69,'done','one',70,70.0,730.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,70,'done','one',71,71.0,740.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,71,'done','one',72,72.0,750.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,72,'done','one',73,73.0,760.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,73,'done','one',74,74.0,770.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,74,'done','one',75,75.0,780.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,75,'done','one',76,76.0,790.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,76,'done','one',77,77.0,800.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,77,'done','one',78,78.0,810.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,78,'done','one',79,79.0,820.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,79,'done','one',80,80.0,830.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,80,'done','one',81,81.0,840.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,81,'done','one',82,82.0,850.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,82,'done','one',83,83.0,860.0);
INSERT INTO "metric" VALUES('sim-0002',1,1,83,'done','one',84,84.0,870.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,0,'done','one',1,1.0,40.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,1,'done','one',2,2.0,50.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,2,'done','one',3,3.0,60.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,3,'done','one',4,4.0,70.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,4,'done','one',5,5.0,80.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,5,'done','one',6,6.0,90.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,6,'done','one',7,7.0,100.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,7,'done','one',8,8.0,110.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,8,'done','one',9,9.0,120.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,9,'done','one',10,10.0,130.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,10,'done','one',11,11.0,140.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,11,'done','one',12,12.0,150.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,12,'done','one',13,13.0,160.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,13,'done','one',14,14.0,170.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,14,'done','one',15,15.0,180.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,15,'done','one',16,16.0,190.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,16,'done','one',17,17.0,200.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,17,'done','one',18,18.0,210.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,18,'done','one',19,19.0,220.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,19,'done','one',20,20.0,230.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,20,'done','one',21,21.0,240.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,21,'done','one',22,22.0,250.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,22,'done','one',23,23.0,260.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,23,'done','one',24,24.0,270.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,24,'done','one',25,25.0,280.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,25,'done','one',26,26.0,290.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,26,'done','one',27,27.0,300.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,27,'done','one',28,28.0,310.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,28,'done','one',29,29.0,320.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,29,'done','one',30,30.0,330.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,30,'done','one',31,31.0,340.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,31,'done','one',32,32.0,350.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,32,'done','one',33,33.0,360.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,33,'done','one',34,34.0,370.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,34,'done','one',35,35.0,380.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,35,'done','one',36,36.0,390.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,36,'done','one',37,37.0,400.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,37,'done','one',38,38.0,410.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,38,'done','one',39,39.0,420.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,39,'done','one',40,40.0,430.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,40,'done','one',41,41.0,440.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,41,'done','one',42,42.0,450.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,42,'done','one',43,43.0,460.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,43,'done','one',44,44.0,470.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,44,'done','one',45,45.0,480.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,45,'done','one',46,46.0,490.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,46,'done','one',47,47.0,500.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,47,'done','one',48,48.0,510.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,48,'done','one',49,49.0,520.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,49,'done','one',50,50.0,530.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,50,'done','one',51,51.0,540.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,51,'done','one',52,52.0,550.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,52,'done','one',53,53.0,560.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,53,'done','one',54,54.0,570.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,54,'done','one',55,55.0,580.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,55,'done','one',56,56.0,590.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,56,'done','one',57,57.0,600.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,57,'done','one',58,58.0,610.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,58,'done','one',59,59.0,620.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,59,'done','one',60,60.0,630.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,60,'done','one',61,61.0,640.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,61,'done','one',62,62.0,650.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,62,'done','one',63,63.0,660.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,63,'done','one',64,64.0,670.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,64,'done','one',65,65.0,680.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,65,'done','one',66,66.0,690.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,66,'done','one',67,67.0,700.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,67,'done','one',68,68.0,710.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,68,'done','one',69,69.0,720.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,69,'done','one',70,70.0,730.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,70,'done','one',71,71.0,740.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,71,'done','one',72,72.0,750.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,72,'done','one',73,73.0,760.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,73,'done','one',74,74.0,770.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,74,'done','one',75,75.0,780.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,75,'done','one',76,76.0,790.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,76,'done','one',77,77.0,800.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,77,'done','one',78,78.0,810.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,78,'done','one',79,79.0,820.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,79,'done','one',80,80.0,830.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,80,'done','one',81,81.0,840.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,81,'done','one',82,82.0,850.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,82,'done','one',83,83.0,860.0);
INSERT INTO "metric" VALUES('sim-0003',1,1,83,'done','one',84,84.0,870.0);
INSERT INTO "metric" VALUES('sim-0003',2,1,0,'done','one',85,85.0,40.0);
INSERT INTO "metric" VALUES('sim-0003',2,1,1,'done','one',86,86.0,50.0);
INSERT INTO "metric" VALUES('sim-0003',2,1,2,'done','one',87,87.0,60.0);
CREATE TABLE quota (
	owner TEXT NOT NULL, 
	accelerator TEXT NOT NULL, 
	used_s FLOAT NOT NULL, 
	reserved_s FLOAT NOT NULL, 
	total_s FLOAT, 
	refreshes_at DATETIME, 
	read_at DATETIME NOT NULL, assumed INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (owner, accelerator)
);
INSERT INTO "quota" VALUES('me','tpu',890.0,0.0,72000.0,'2030-01-12 00:00:00.000000','2030-01-07 00:18:45.000000',0);
CREATE TABLE request (
	id INTEGER NOT NULL, 
	run TEXT NOT NULL, 
	verb TEXT NOT NULL, 
	arguments JSON NOT NULL, 
	made_at DATETIME NOT NULL, 
	obeyed_at DATETIME, 
	answer TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(run) REFERENCES run (id)
);
INSERT INTO "request" VALUES(1,'sim-0002','pause','{}','2030-01-07 00:18:45.000000','2030-01-07 00:18:45.000000',NULL);
INSERT INTO "request" VALUES(2,'sim-0002','prune','{}','2030-01-07 00:18:45.000000',NULL,NULL);
CREATE TABLE run (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	accelerator TEXT NOT NULL, 
	status TEXT NOT NULL, 
	pipeline TEXT NOT NULL, 
	pipeline_path TEXT NOT NULL, 
	pipeline_digest TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	waiting_until DATETIME, 
	reason TEXT NOT NULL, 
	remedy TEXT NOT NULL, 
	excerpt TEXT NOT NULL, 
	inputs TEXT NOT NULL, 
	judged INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "run" VALUES('sim-0001','sim','me','tpu','finished','{"accelerator":"TpuV5E8","account":{"hours_per_week":null,"slots":null},"environment":null,"handoff":"dataset","inputs":{"datasets":[],"files":[],"models":[],"sha256":{}},"internet":true,"keep":3,"model":{},"name":"sim","on_timeout":"resume","seed":0,"session":{"attempts":3,"limit_s":1000.0,"margin_s":100.0,"save_interval_s":200.0,"worth_s":null},"sources":{},"stages":[{"kind":"counting","name":"one","options":{},"steps":100},{"kind":"counting","name":"two","options":{},"steps":120}]}','sim.yaml','2bae9862940a344a279bef7cf2472c7e5c948b491210d4773ee21549c6bb70f5','2030-01-07 00:00:00.000000','2030-01-07 00:52:05.000000',NULL,'','','','',0);
INSERT INTO "run" VALUES('sim-0002','sim','me','tpu','parked','{"accelerator":"TpuV5E8","account":{"hours_per_week":null,"slots":null},"environment":null,"handoff":"dataset","inputs":{"datasets":[],"files":[],"models":[],"sha256":{}},"internet":true,"keep":3,"model":{},"name":"sim","on_timeout":"resume","seed":0,"session":{"attempts":3,"limit_s":1000.0,"margin_s":100.0,"save_interval_s":200.0,"worth_s":null},"sources":{},"stages":[{"kind":"counting","name":"one","options":{},"steps":100},{"kind":"counting","name":"two","options":{},"steps":120}]}','sim.yaml','2bae9862940a344a279bef7cf2472c7e5c948b491210d4773ee21549c6bb70f5','2030-01-07 00:00:00.000000','2030-01-07 00:18:45.000000',NULL,'paused by you','relay resume sim-0002','','',0);
INSERT INTO "run" VALUES('sim-0003','sim','me','tpu','active','{"accelerator":"TpuV5E8","account":{"hours_per_week":null,"slots":null},"environment":null,"handoff":"dataset","inputs":{"datasets":[],"files":[],"models":[],"sha256":{}},"internet":true,"keep":3,"model":{},"name":"sim","on_timeout":"resume","seed":0,"session":{"attempts":3,"limit_s":1000.0,"margin_s":100.0,"save_interval_s":200.0,"worth_s":null},"sources":{},"stages":[{"kind":"counting","name":"one","options":{},"steps":100},{"kind":"counting","name":"two","options":{},"steps":120}]}','sim.yaml','2bae9862940a344a279bef7cf2472c7e5c948b491210d4773ee21549c6bb70f5','2030-01-07 00:00:00.000000','2030-01-07 00:20:50.000000',NULL,'','','','',0);
CREATE TABLE session (
	run TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	slug TEXT NOT NULL, 
	token TEXT NOT NULL, 
	phase TEXT NOT NULL, 
	start JSON NOT NULL, 
	parent TEXT, 
	budget_s FLOAT NOT NULL, 
	limit_s FLOAT NOT NULL, 
	planned_at DATETIME NOT NULL, 
	kernel_version INTEGER, 
	pushed_at DATETIME, 
	running_at DATETIME, 
	ended_at DATETIME, 
	worker TEXT NOT NULL, 
	worker_message TEXT NOT NULL, 
	outcome TEXT, 
	cause TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	transient INTEGER NOT NULL, 
	reached JSON, 
	furthest JSON, 
	steps_lost INTEGER NOT NULL, 
	checkpoint TEXT, 
	excerpt TEXT NOT NULL, seconds JSON DEFAULT '{}' NOT NULL, kept_s FLOAT DEFAULT '0' NOT NULL, timings JSON DEFAULT '{}' NOT NULL, 
	PRIMARY KEY (run, number, attempt), 
	FOREIGN KEY(run) REFERENCES run (id), 
	CONSTRAINT session_slug UNIQUE (slug)
);
INSERT INTO "session" VALUES('sim-0001',1,1,'sim-0001-s0001','8f0057f9ec1d63026dd00cef','published','{"stage": "one", "step": 0}',NULL,900.0,1000.0,'2030-01-07 00:00:00.000000',1,'2030-01-07 00:00:00.000000','2030-01-07 00:02:05.000000','2030-01-07 00:16:40.000000','complete','','yielded','','',0,'{"stage": "one", "step": 84}','{"stage": "one", "step": 84}',0,'sim-0001-c0001','','{}',0.0,'{}');
INSERT INTO "session" VALUES('sim-0001',2,1,'sim-0001-s0002','6d35bf87a4d51a7ebaeccb59','published','{"stage": "one", "step": 84}','sim-0001-c0001',900.0,1000.0,'2030-01-07 00:18:45.000000',1,'2030-01-07 00:18:45.000000','2030-01-07 00:20:50.000000','2030-01-07 00:35:25.000000','complete','','yielded','','',0,'{"stage": "two", "step": 68}','{"stage": "two", "step": 68}',0,'sim-0001-c0002','','{}',0.0,'{}');
INSERT INTO "session" VALUES('sim-0001',3,1,'sim-0001-s0003','4ea0a056115f55061c7a0a9e','published','{"stage": "two", "step": 68}','sim-0001-c0002',900.0,1000.0,'2030-01-07 00:37:30.000000',1,'2030-01-07 00:37:30.000000','2030-01-07 00:39:35.000000','2030-01-07 00:50:00.000000','complete','','finished','','',0,'{"stage": "two", "step": 120}','{"stage": "two", "step": 120}',0,'sim-0001-c0003','','{}',0.0,'{}');
INSERT INTO "session" VALUES('sim-0002',1,1,'sim-0002-s0001','a7ad065029d95e62546a64b8','published','{"stage": "one", "step": 0}',NULL,900.0,1000.0,'2030-01-07 00:00:00.000000',1,'2030-01-07 00:00:00.000000','2030-01-07 00:02:05.000000','2030-01-07 00:16:40.000000','complete','','yielded','','',0,'{"stage": "one", "step": 84}','{"stage": "one", "step": 84}',0,'sim-0002-c0001','','{}',0.0,'{}');
INSERT INTO "session" VALUES('sim-0003',1,1,'sim-0003-s0001','5a6f7a610242a095690878f8','published','{"stage": "one", "step": 0}',NULL,900.0,1000.0,'2030-01-07 00:00:00.000000',1,'2030-01-07 00:00:00.000000','2030-01-07 00:02:05.000000','2030-01-07 00:16:40.000000','complete','','yielded','','',0,'{"stage": "one", "step": 84}','{"stage": "one", "step": 84}',0,'sim-0003-c0001','','{}',0.0,'{}');
INSERT INTO "session" VALUES('sim-0003',2,1,'sim-0003-s0002','52d8d9eec5075152090f75e3','running','{"stage": "one", "step": 84}','sim-0003-c0001',900.0,1000.0,'2030-01-07 00:18:45.000000',1,'2030-01-07 00:18:45.000000','2030-01-07 00:20:50.000000',NULL,'','',NULL,'','',0,'null','null',0,NULL,'','{}',0.0,'{}');
CREATE TABLE told (
	service TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	mark INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	PRIMARY KEY (service, subject)
);
INSERT INTO "told" VALUES('mail','',12,'2030-01-07 00:00:00.000000');
CREATE TABLE watch (
	run TEXT NOT NULL, 
	looked_at DATETIME, 
	dataset_looked_at DATETIME, 
	failures INTEGER NOT NULL, 
	failing_since DATETIME, 
	failure TEXT NOT NULL, 
	not_before DATETIME, 
	log_lines INTEGER NOT NULL, failed_at DATETIME, failing_s FLOAT DEFAULT '0' NOT NULL, absences INTEGER DEFAULT '0' NOT NULL, slot_since DATETIME, slot_seen_at DATETIME, done_at DATETIME, seconds JSON DEFAULT '{}' NOT NULL, sent_s FLOAT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (run), 
	FOREIGN KEY(run) REFERENCES run (id)
);
INSERT INTO "watch" VALUES('sim-0001',NULL,'2030-01-07 00:52:05.000000',0,NULL,'',NULL,0,NULL,0.0,0,NULL,NULL,NULL,'{}',0.0);
INSERT INTO "watch" VALUES('sim-0002',NULL,'2030-01-07 00:18:45.000000',0,NULL,'',NULL,0,NULL,0.0,0,NULL,NULL,NULL,'{}',0.0);
INSERT INTO "watch" VALUES('sim-0003','2030-01-07 00:20:50.000000','2030-01-07 00:18:45.000000',0,NULL,'',NULL,4,NULL,0.0,0,NULL,NULL,NULL,'{}',0.0);
CREATE INDEX fact_by_run ON fact (run, id);
CREATE INDEX request_open ON request (run, obeyed_at);
CREATE INDEX session_by_phase ON session (phase);
CREATE INDEX metric_by_name ON metric (run, stage, name, session, attempt, number, step, value);
CREATE INDEX run_by_status ON run (status, created_at, id);
CREATE INDEX session_by_end ON session (ended_at);
CREATE INDEX request_by_answer ON request (obeyed_at, run);
COMMIT;
